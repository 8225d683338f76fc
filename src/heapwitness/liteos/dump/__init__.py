"""A dump from its first byte to what is shown of it."""
