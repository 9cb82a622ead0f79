"""A file beside a SQLite database with the largest sequence number that a service has published.

A database that was restored from a backup, or made again after its deletion, contains a smaller
number. The service continues after the number in this file, so no number is used twice.
"""

import glob
import os
import re
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

from schemas.errors import StoreError
from schemas.portable_files import sync_folder, wait_for_lock

BLOCK = 1000
"""Numbers that are reserved on the disk at once; only a power cut uses up the rest of a block."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_RECORD = re.compile(r"last=(\d{20}) reserved=(\d{20}) boot=([\w-]{36})\n")
_WITHOUT_BOOT_ID = "-" * 36


@dataclass(frozen=True)
class Record:
    """The content of the file.

    ``last`` is the largest number published. It is written without a sync to the disk, so it is
    exact after a crash of the process, and may be too small after a power cut. ``reserved`` is on
    the disk before a larger number is published. ``boot`` is the start of the computer at which
    ``last`` was written.
    """

    last: int
    reserved: int
    boot: str

    def floor(self, boot: str) -> int:
        """Return the largest number that may have been published, during a start of the computer.

        After a power cut, this is the end of the reserved block.
        """
        return self.last if self.boot == boot != _WITHOUT_BOOT_ID else self.reserved

    def to_bytes(self) -> bytes:
        """Return the record as one line of text of fixed length with a checksum."""
        text = f"last={self.last:020d} reserved={self.reserved:020d} boot={self.boot}\n"
        return f"{zlib.crc32(text.encode()):08x} {text}".encode()


class SequenceMark:
    """The largest published sequence number of one service; safe in several threads and processes.

    Parameters
    ----------
    path
        The file. It is made when the first number is published.
    boot
        Identity of this start of the computer; None asks the kernel.

    Raises
    ------
    StoreError
        By every method, if the file cannot be read or written, or is damaged.
    """

    def __init__(self, path: Path, boot: str | None = None) -> None:
        self._path = path
        self._boot = boot or _boot_id()
        self._published = 0  # by this object
        self._lock = threading.Lock()

    def floor(self) -> int:
        """Return the largest number that may have been published; 0 without the file."""
        with self._raising_store_errors():
            try:
                content = self._path.read_bytes()
            except FileNotFoundError:
                return 0
            except PermissionError:  # Windows: another process writes the file at this moment
                with self._locked_file() as file:
                    content = file.read()
            return self._parse(content).floor(self._boot)

    def raise_to(self, sequence: int) -> None:
        """Record that messages up to a sequence number are published now; call it before.

        One call in about a thousand waits for the disk.
        """
        with self._lock, self._raising_store_errors():
            if sequence <= self._published:
                return
            with self._locked_file() as file:
                record = self._parse(file.read())
                last = max(sequence, record.floor(self._boot))
                is_within = last <= record.reserved
                reserved = record.reserved if is_within else last + BLOCK
                self._write(file, Record(last, reserved, self._boot), durably=not is_within)
            self._published = sequence

    def close(self) -> None:
        """Write the exact number to the disk, so that a restart of the computer skips none."""
        with self._lock, self._raising_store_errors():
            if self._published and self._path.exists():
                with self._locked_file() as file:
                    record = self._parse(file.read())
                    self._write(file, replace(record, reserved=record.last), durably=True)

    @contextmanager
    def _locked_file(self) -> Iterator[FileIO]:
        if not self._path.exists():
            self._make()
        with self._path.open("r+b", buffering=0) as file:
            wait_for_lock(file)
            yield file

    def _make(self) -> None:
        """Make the file with the number 0, complete or not at all."""
        writer = f"{os.getpid()}-{threading.get_ident()}"
        temporary = self._path.with_name(f".{writer}.{self._path.name}.part")
        try:
            with temporary.open("wb", buffering=0) as file:
                self._write(file, Record(0, 0, self._boot), durably=True)
            with suppress(FileExistsError):  # another process has made it in the meantime
                self._path.hardlink_to(temporary)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(self._path.parent)

    def _write(self, file: FileIO, record: Record, *, durably: bool) -> None:
        file.seek(0)
        file.write(record.to_bytes())  # the same bytes of the disk: needs no free space
        if durably:
            os.fsync(file.fileno())

    def _parse(self, content: bytes) -> Record:
        checksum, _, text = content.decode(errors="replace").partition(" ")
        found = _RECORD.fullmatch(text)
        if found is None or checksum != f"{zlib.crc32(text.encode()):08x}":
            raise StoreError(
                self._path,
                "is damaged; expected the record of the published sequence numbers. Delete it only "
                "if the database was not restored: the numbers of the database are used then",
            )
        return Record(int(found[1]), int(found[2]), found[3])

    @contextmanager
    def _raising_store_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                self._path,
                f"cannot be used ({error.strerror}); expected a file and a folder that this user "
                "may write, with free disk space",
            ) from error


def mark_file(database: Path, service: str) -> Path:
    """Return the file with the published numbers of a service beside a database file."""
    return database.with_name(f"{database.name}.sequence-{service}")


def has_marks(database: Path) -> bool:
    """Return whether a service has published messages of the database at this path."""
    return any(database.parent.glob(f"{glob.escape(database.name)}.sequence-*"))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return _WITHOUT_BOOT_ID
