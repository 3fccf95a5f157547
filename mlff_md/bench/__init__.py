"""Benchmarks: engines and peers side by side, interleaved in one process."""

from mlff_md.bench.run import DEFAULT_ENGINES, BenchResult, bench

__all__ = ["DEFAULT_ENGINES", "BenchResult", "bench"]
