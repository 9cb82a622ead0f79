"""A folder on a FUSE file system that stalls, because a test stops its server with SIGSTOP.

The server speaks the protocol of ``/dev/fuse`` itself, read-only, so no library is needed. Mounting
needs root; :func:`stalling_folder` skips the test elsewhere.
"""

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import pytest

_LIBC = ctypes.CDLL(None, use_errno=True)
_MS_RDONLY_NOSUID_NODEV = 1 | 2 | 4
_MNT_DETACH = 2
_WITHOUT_REPLY = {2, 36, 42}  # forget, interrupt, batch forget


class _Code(IntEnum):
    """Numbers of the requests that are answered, as in ``linux/fuse.h``."""

    LOOKUP = 1
    GETATTR = 3
    READLINK = 5
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    INIT = 26
    OPENDIR = 27
    READDIR = 28
    RELEASEDIR = 29


@dataclass(frozen=True)
class StallingFolder:
    """A mounted folder that shows the files of another folder, until it stalls."""

    path: Path
    server: "subprocess.Popen[str]"

    def stall(self) -> None:
        """Let each later access to the folder wait."""
        self.server.send_signal(signal.SIGSTOP)

    def answer(self) -> None:
        """Let the accesses that wait continue."""
        self.server.send_signal(signal.SIGCONT)


@contextmanager
def stalling_folder(backing: Path, mount: Path) -> Iterator[StallingFolder]:
    """Mount the files of a folder at an empty folder; skip the test where that is not permitted."""
    mount.mkdir()
    command = [sys.executable, "-m", "tests.stalling_folder", str(backing), str(mount)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        started = server.stdout.readline().strip()
        if started != "mounted":
            server.wait()
            pytest.skip(f"no FUSE file system can be mounted here: {started}")
        try:
            yield StallingFolder(mount, server)
        finally:
            server.kill()  # ends the accesses that still wait
            server.wait()
            _LIBC.umount2(bytes(mount), _MNT_DETACH)


class _Server:
    """Answers the requests of the kernel from the files below a folder."""

    def __init__(self, device: int, backing: bytes) -> None:
        self._device = device
        self._paths = {1: backing}  # by node id
        self._nodes = {backing: 1}

    def serve(self) -> None:
        while True:
            request = os.read(self._device, 1 << 20)
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in _WITHOUT_REPLY:
                continue
            try:
                body = self._answer(opcode, node, request[40:])
                code = 0
            except OSError as error:
                body, code = b"", -(error.errno or errno.EIO)
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), code, unique) + body)

    def _answer(self, opcode: int, node: int, given: bytes) -> bytes:  # noqa: PLR0911 - a table
        path = self._paths.get(node, self._paths[1])  # the first request has no node
        match opcode:
            case _Code.INIT:
                return struct.pack("<IIIIHHIIHH8I", 7, 31, 0, 0, 4, 3, 4096, 1, 0, 0, *[0] * 8)
            case _Code.LOOKUP:
                return self._entry(path + b"/" + given.rstrip(b"\0"))
            case _Code.GETATTR:
                return struct.pack("<QII", 0, 0, 0) + _attributes(os.lstat(path), node)
            case _Code.READLINK:
                return os.readlink(path)  # noqa: PTH115 - a path of bytes
            case _Code.OPEN | _Code.OPENDIR:
                return struct.pack("<QII", 0, 0, 0)
            case _Code.READ:
                _, offset, size = struct.unpack_from("<QQI", given)
                with open(path, "rb") as file:  # noqa: PTH123 - a path of bytes
                    return os.pread(file.fileno(), size, offset)
            case _Code.STATFS:
                return bytes(80)
            case _Code.READDIR:
                _, offset, size = struct.unpack_from("<QQI", given)
                return self._entries(path, offset, size)
            case _Code.RELEASE | _Code.RELEASEDIR:
                return b""
        raise OSError(errno.ENOSYS, "not needed to read files")

    def _entry(self, path: bytes) -> bytes:
        status = os.lstat(path)
        node = self._nodes.setdefault(path, len(self._nodes) + 1)
        self._paths[node] = path
        return struct.pack("<QQQQII", node, 0, 0, 0, 0, 0) + _attributes(status, node)

    def _entries(self, path: bytes, offset: int, size: int) -> bytes:
        found = b""
        for number, name in enumerate(sorted(os.listdir(path)), start=1):  # noqa: PTH208 - bytes
            kind = stat.S_IFMT(os.lstat(path + b"/" + name).st_mode) >> 12
            entry = struct.pack("<QQII", number + 1, number, len(name), kind) + name
            entry += bytes(-len(entry) % 8)
            if number > offset and len(found) + len(entry) <= size:
                found += entry
            elif number > offset:
                break
        return found


def _attributes(status: os.stat_result, node: int) -> bytes:
    seconds = [int(each) for each in (status.st_atime, status.st_mtime, status.st_ctime)]
    parts = [each % 10**9 for each in (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)]
    owner = status.st_mode, status.st_nlink, status.st_uid, status.st_gid, 0, 4096, 0
    return struct.pack("<6Q10I", node, status.st_size, status.st_blocks, *seconds, *parts, *owner)


def _main(backing: str, mount: str) -> None:
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _LIBC.mount(b"stalling", mount.encode(), b"fuse", _MS_RDONLY_NOSUID_NODEV, options):
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))  # noqa: TRY301 - reported below
    except OSError as error:
        sys.stdout.write(f"{error}\n")
        return
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    _Server(device, backing.encode()).serve()


if __name__ == "__main__":
    _main(*sys.argv[1:])
