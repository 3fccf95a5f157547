"""Exporting students: one file per format, each proved equal before it is written."""

from mlff_md.exporters.run import FORMATS, ExportResult, export

__all__ = ["FORMATS", "ExportResult", "export"]
