"""A pool's nodes, lists and counters, and which copies hold."""
