"""Where pools lie in a dump, and which layout they have."""
