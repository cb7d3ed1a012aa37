"""Runtimes: who receives, settles, sends and acknowledges."""
