"""Tell faults of this computer, its disks and its network from faults of an input."""

import errno
import os
from collections.abc import Iterator

from schemas.errors import MachineError, SpheroRankError

_ERRNOS = frozenset(
    {
        errno.EACCES,  # a lock or an access list, often for a moment
        errno.EPERM,
        errno.EAGAIN,
        errno.EBUSY,
        errno.EDQUOT,
        errno.EINTR,
        errno.EIO,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENODEV,
        errno.ENOLCK,
        errno.ENOMEM,
        errno.ENOSPC,
        errno.ENXIO,
        errno.EROFS,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ETXTBSY,
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETRESET,
        errno.ENETUNREACH,
        errno.ENOTCONN,
        errno.EPIPE,
        errno.ESHUTDOWN,
    }
    # Of the Linux kernel alone: an error of a file server.
    | {number for number, name in errno.errorcode.items() if name == "EREMOTEIO"}
    # The number that Python gives to most errors of disks and networks on Windows.
    | ({errno.EINVAL} if os.name == "nt" else set())
)
_OUT_OF_MEMORY = ("insufficient memory", "out of memory", "bad_alloc", "failed to allocate memory")


def is_machine_fault(error: BaseException) -> bool:
    """Return whether an exception or one of its causes is a fault of this computer.

    Such a fault is a lack of memory or disk space, a timeout, or an error of a disk, network or
    lock. It may disappear, so the same input may succeed later.
    """
    return any(map(_is_fault, _with_causes(error)))


def reason_of(error: Exception) -> str:
    """Return the reason for a rejection because of an exception.

    The type of an unexpected exception is part of the reason, so that it can be reported.
    """
    if isinstance(error, SpheroRankError):
        return error.problem
    text = " ".join(str(error).split())[:200]
    return f"cannot be processed: {type(error).__name__}: {text}"


def _is_fault(error: BaseException) -> bool:
    """Return whether the exception itself, without its causes, is a fault of this computer."""
    if isinstance(error, MachineError | MemoryError | TimeoutError):
        return True
    if isinstance(error, OSError):
        return error.errno in _ERRNOS
    text = str(error).lower()  # OpenCV and onnxruntime report a lack of memory in the text only
    return any(phrase in text for phrase in _OUT_OF_MEMORY)


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an exception and the exceptions that caused it."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
