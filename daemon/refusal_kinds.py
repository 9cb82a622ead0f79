"""Kinds of refusals, for monitoring: the reason itself names the file and the values found."""

import re
from enum import StrEnum


class RefusalKind(StrEnum):
    """Kind of the reason of a refusal."""

    NAME = "name"
    """The file name does not fit the pattern, or is that of a copy."""
    DAMAGED = "damaged"
    """The file is cut short or damaged, or cannot be decoded."""
    SIZE = "size"
    """The image has too few or too many pixels, planes or bytes."""
    FORMAT = "format"
    """The file is no grey image of focal planes."""
    ENDS_PROCESS = "ends_process"
    """The image ended the process that read it."""
    OTHER = "other"


_KINDS = (
    (RefusalKind.NAME, r"the name |its name |the path |the plate id "),
    (RefusalKind.ENDS_PROCESS, r".*\bend(s|ed) (the|a) process\b"),
    (RefusalKind.DAMAGED, r"damaged|cut short|0 bytes;|cannot be (read|decoded|embedded)"),
    (RefusalKind.SIZE, r".*\bexpected at (least|most) "),
    (
        RefusalKind.FORMAT,
        r"starts with |pixels are |photometric |its planes |(a|only|more than|\d+) ",
    ),
)


def refusal_kind(reason: str) -> RefusalKind:
    """Return the kind of a reason of a refusal."""
    # An error text may begin with the file.
    for part in (reason, reason.partition(": ")[2]):
        for kind, pattern in _KINDS:
            if re.match(pattern, part, re.DOTALL):
                return kind
    return RefusalKind.OTHER
