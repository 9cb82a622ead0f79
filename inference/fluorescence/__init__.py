"""Signals of fluorescent stains and the viability that follows from them."""
