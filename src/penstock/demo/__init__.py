"""`penstock demo`: real data through the whole path, from real sources into a warehouse."""
