"""Policies of free areas, from 1998 to today, on one ground and under one demand."""
