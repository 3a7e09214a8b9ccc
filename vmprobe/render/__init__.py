"""Answers to text; knows no question."""
