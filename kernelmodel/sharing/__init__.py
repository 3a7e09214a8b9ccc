"""Sharing that the page count does not reveal: who can reach a frame, what each pays for it, what was copied.

All of it works on runs of page-table entries and on rows of frames, never on single entries: a host with many
forks has a hundred entries for every frame.
"""
