"""Places rows go to. `loading` is the transaction they all run; an adapter is its session."""
