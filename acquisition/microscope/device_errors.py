"""Errors of devices: whatever a driver raises becomes a MicroscopeError."""

from collections.abc import Iterator
from contextlib import contextmanager

from acquisition.ports import ImagingStoppedError
from schemas.errors import MicroscopeError, ScaleError


@contextmanager
def as_microscope_error(device: str) -> Iterator[None]:
    """Raise any exception of a block as a MicroscopeError that names the device."""
    try:
        yield
    except (MicroscopeError, ScaleError, ImagingStoppedError):
        raise
    except Exception as error:  # drivers, Python devices and the core raise any type
        message = " ".join(str(error).split()) or type(error).__name__
        raise MicroscopeError(device, message) from error
