"""Bytes to rows: one pure parser a file, named after the file in /proc that it reads."""
