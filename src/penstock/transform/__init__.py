"""Transform: columns, steps and expectations compile into one SQL statement per chunk."""

from penstock.transform.chunk import LocalFile, Transformed, transform_chunk
from penstock.transform.contract import evolve, exact_widening
from penstock.transform.look import Preview, explain_sql, output_fields, preview_chunk

__all__ = [
    "LocalFile",
    "Preview",
    "Transformed",
    "evolve",
    "exact_widening",
    "explain_sql",
    "output_fields",
    "preview_chunk",
    "transform_chunk",
]
