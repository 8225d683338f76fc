"""Bytes by address, whatever holds them."""
