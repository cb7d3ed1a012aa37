"""What is seen of a run while it goes on, and after: events, the log, the report."""
