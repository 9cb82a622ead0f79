"""The service: puts the parts together and keeps them alive."""
