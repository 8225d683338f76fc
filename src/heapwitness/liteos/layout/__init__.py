"""What the bytes of a node mean, by the configuration."""
