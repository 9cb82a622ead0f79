"""Return freed memory to the operating system."""

import ctypes
from contextlib import suppress


def return_free_memory() -> None:
    """Return the memory that this process has freed to the operating system.

    The C library keeps it otherwise, such as the memory in which an ONNX model was opened and that
    of large images. Nothing happens with another C library than that of GNU.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)
