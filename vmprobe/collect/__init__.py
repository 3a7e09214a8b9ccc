"""Rows to tables: the order in which a moving machine is read."""
