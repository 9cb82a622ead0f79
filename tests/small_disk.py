"""A small file system of its own that a test fills up or makes read-only."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

_LIBC = ctypes.CDLL(None, use_errno=True)
_MS_RDONLY, _MS_REMOUNT, _MNT_DETACH = 1, 32, 2
_FILLING = ".filling"


def _mount(folder: Path, flags: int, options: bytes = b"") -> None:
    if _LIBC.mount(b"tmpfs", bytes(folder), b"tmpfs", flags, options):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(folder))


@dataclass(frozen=True)
class SmallDisk:
    """A mounted file system, which a test breaks and repairs."""

    path: Path
    fault: str  # "full" or "read-only"

    def break_down(self) -> None:
        """Fill the disk to its last byte, or make it read-only."""
        if self.fault == "read-only":
            _mount(self.path, _MS_REMOUNT | _MS_RDONLY)
            return
        with (self.path / _FILLING).open("ab", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                return

    def repair(self) -> None:
        """Free the space, or make the disk writable."""
        if self.fault == "read-only":
            _mount(self.path, _MS_REMOUNT)
        else:
            (self.path / _FILLING).unlink()


@contextmanager
def small_disk(folder: Path, fault: str, size: str = "8m") -> Iterator[SmallDisk]:
    """Mount an empty file system at a new folder; skip the test where that is not permitted."""
    folder.mkdir(parents=True)
    try:
        _mount(folder, 0, f"size={size}".encode())
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    try:
        yield SmallDisk(folder, fault)
    finally:
        _LIBC.umount2(bytes(folder), _MNT_DETACH)
