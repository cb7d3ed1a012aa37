"""The places rows come from: one module per source type."""
