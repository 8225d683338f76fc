"""Walks the nodes of a pool without trusting a length that it has not verified."""
