"""What the bytes mean: one description of each format (see docs/format.md)."""
