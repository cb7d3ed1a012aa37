"""The pipeline file: read, merged, checked, and turned into a `penstock.pipeline.Pipeline`.

    parse -> nodes (every value knows its line) -> resolve (layers merged) -> models (checked)
          -> build (frozen dataclasses) -> wire (canonical JSON and its digest)

`secrets` reads references when something opens; `streams` expands, settles and selects streams.
Import from the modules: this package loads nothing by itself.
"""
