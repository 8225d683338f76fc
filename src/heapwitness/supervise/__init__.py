"""Starts a program with the engine inside and takes its events."""
