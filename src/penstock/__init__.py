"""Penstock: one pipeline file, every row accounted for."""

__version__ = "0.1.0"
