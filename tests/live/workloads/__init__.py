"""One small program for each mechanism of sharing, which makes it for real and holds still.

``python -m tests.live.workloads [NAME ...] [--json FILE]`` holds them all, asks `vmprobe sharing`, and prints
what it recognised. They know x86-64 alone, and need root: frame numbers are for root.
"""
