"""The four stages and the helper of all: plan, extract, transform, load; reconcile.

A stage is a frozen dataclass of the ports it needs, called with one message; it yields the
messages that follow. It may be killed at any point and called again: what is durable decides.
"""
