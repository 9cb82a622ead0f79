"""Identity of embeddings: the encoder, and the part of an image that it embedded."""

_SEPARATOR = "@"  # is not part of any encoder's id


def embedding_id(encoder_id: str, crop: str | None) -> str:
    """Return the id of embeddings by an encoder (id) of a named crop; None is the whole field.

    Embeddings with different ids are never compared.

    >>> embedding_id("spheroid-0123456789abcdef", "757um")
    'spheroid-0123456789abcdef@757um'
    """
    return encoder_id if crop is None else f"{encoder_id}{_SEPARATOR}{crop}"


def crop_of(embedding_id: str) -> str | None:
    """Return the name of the crop of an embedding id; None for the whole field."""
    return embedding_id.partition(_SEPARATOR)[2] or None


def encoder_of(embedding_id: str) -> str:
    """Return the id of the encoder of an embedding id."""
    return embedding_id.partition(_SEPARATOR)[0]
