"""kernelmodel: Linux memory management as a pure model.

Imports numpy and the standard library's computing parts alone; does no I/O, reads no clock, knows no /proc.
Usable without vmprobe.
"""
