"""Compaction on one layout of a zone: what Linux would do, the exact minimum, and what 1998 proposed.

`zone_layout` is what all strategies work on, `result` what they all come to. `scanners` runs Linux's two
scanners page by page, `planner` finds the cheapest windows, `eviction` drops and swaps instead of moving,
`blit` copies away what stands in a small window, `gravity` slides everything to one end.
"""
