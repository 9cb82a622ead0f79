"""The losses an encoder is trained with."""
