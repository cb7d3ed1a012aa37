"""What Penstock's own tests use, for whoever writes an adapter: real services and contracts."""
