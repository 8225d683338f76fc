"""A pool that allocates and releases as the kernel does."""
