"""Durable, at-least-once queues with a dead-letter queue beside them."""
