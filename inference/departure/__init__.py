"""Departure of each well from the state that it would have reached untreated."""
