"""Losses with which an encoder is trained, one objective in each file."""
