"""Identity of a drop folder, by which two services recognise that they ingest the same one."""

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

_MOUNTS = Path("/proc/self/mountinfo")
_SHARED = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "ceph", "glusterfs", "lustre", "beegfs")
"""File system types that several computers mount from one source."""


@dataclass(frozen=True)
class Mount:
    """A mounted file system: its place, its type, its source, and the mounted folder of it."""

    place: str
    kind: str
    source: str
    root: str


def read_mounts(file: Path = _MOUNTS) -> list[Mount]:
    """Return the mounted file systems in a file of the format of ``/proc/self/mountinfo``.

    The list is empty on systems without this file.
    """
    try:
        lines = os.fsdecode(file.read_bytes()).splitlines()
    except OSError:
        return []
    mounts = []
    for line in lines:
        first, _, last = line.partition(" - ")
        if len(left := first.split(" ")) > 4 and len(right := last.split(" ")) > 1:  # noqa: PLR2004 - the fields that are read
            mounts.append(Mount(_plain(left[4]), right[0], _plain(right[1]), _plain(left[3])))
    return mounts


def folder_identity(folder: Path, mounts: Sequence[Mount], host: str | None = None) -> str:
    """Return a text that is equal for every path of one folder, and differs between folders.

    Links are resolved. A folder on a network share is identified by the share and its path there,
    so that it is equal on every computer and at every mount point. Any other folder is identified
    by the name of the computer and its path.

    Parameters
    ----------
    mounts
        The mounted file systems, from :func:`read_mounts`; a later one covers earlier ones.
    host
        The name of this computer; None asks the system.
    """
    path = folder.resolve()
    if share := share_folder(path):
        return share
    around = [mount for mount in mounts if path.is_relative_to(mount.place)]
    mount = max(reversed(around), key=lambda each: len(each.place), default=None)
    if mount is None or mount.kind not in _SHARED:
        return f"{host or socket.gethostname()}:{path}"
    inside = Path(mount.root) / path.relative_to(mount.place)
    return f"{mount.source.rstrip('/')}{str(inside).rstrip('/')}"


def share_folder(path: PurePath) -> str | None:
    r"""Return a Windows path of a network share, such as ``\\server\share\drop``, with slashes.

    Linux names the source of a mounted share in the same way. None for any other path.
    """
    return path.as_posix().rstrip("/") if path.drive.startswith("\\\\") else None


def _plain(text: str) -> str:
    r"""Return a field of mountinfo with its octal escapes, such as ``\040``, replaced."""
    for escape, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(escape, character)
    return text
