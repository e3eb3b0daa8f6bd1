"""The store: Parquet files, one per run and kind, written atomically, readable at any moment."""
