"""How files are read: bytes -> text -> records -> raw Parquet, in blocks of bounded size."""
