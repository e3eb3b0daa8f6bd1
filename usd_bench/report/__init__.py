"""Reports: pictures and tables from what the store holds."""
