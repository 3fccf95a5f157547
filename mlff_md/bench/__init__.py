"""Benchmarks: engines and peers side by side, interleaved in one process."""

from mlff_md.bench.run import BenchResult, bench

__all__ = ["BenchResult", "bench"]
