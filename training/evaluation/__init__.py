"""Evaluation of encoders on virtual plates and real images, and a report that compares them."""
