"""Dose-response curves, growth rates and combination effects."""
