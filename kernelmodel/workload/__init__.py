"""Demand: seeded streams of requests for memory, to be mixed and kept."""
