"""Snapshots on disk: Parquet tables and a manifest, written whole or not at all, checked on load."""
