"""A small file system of its own that a test fills up or makes read-only."""

import ctypes
import os
import subprocess
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
    """A mounted file system, which a test breaks and repairs.

    The kernel makes it read-only only while no file on it is open for writing.
    """

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


@dataclass(frozen=True)
class FailingDisk:
    """A mounted ext4 file system that becomes read-only although files are open for writing."""

    path: Path
    image: Path

    def mount(self) -> None:
        """Mount the file system as it is on the disk."""
        _run("mount", "-o", "loop", self.image, self.path)

    def break_down(self) -> None:
        """Make the disk read-only, as ext4 does after an error of the device."""
        _run("mount", "-o", "remount,abort", self.path)

    def repair(self) -> None:
        """Mount the file system again; a process with open files keeps the broken one."""
        _LIBC.umount2(bytes(self.path), _MNT_DETACH)
        self.mount()


@contextmanager
def failing_disk(folder: Path, size: str = "16M") -> Iterator[FailingDisk]:
    """Mount an empty ext4 file system at a new folder; skip the test where that is impossible."""
    folder.mkdir(parents=True)
    disk = FailingDisk(folder, folder.with_name(f"{folder.name}.ext4"))
    try:
        _run("truncate", "-s", size, disk.image)
        _run("mkfs.ext4", "-q", disk.image)
        disk.mount()
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no ext4 file system can be mounted here: {error}")
    try:
        yield disk
    finally:
        _LIBC.umount2(bytes(folder), _MNT_DETACH)


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)
