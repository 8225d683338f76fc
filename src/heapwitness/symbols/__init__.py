"""Turns addresses into functions, files, lines and inlined frames."""
