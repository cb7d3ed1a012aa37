"""Heads, plans, waiting triggers: small values, each changed by compare-and-set."""
