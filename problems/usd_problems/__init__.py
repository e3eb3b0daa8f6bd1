"""The problems of usd-bench: one equation per file."""
