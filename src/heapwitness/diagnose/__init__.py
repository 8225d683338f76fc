"""Turns damaged nodes and wrong releases into findings."""
