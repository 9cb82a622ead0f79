"""Embeddings of well images, computed from an ONNX bundle."""
