"""Ids of plates and specimens, which name folders, and texts that are safe to print on one line."""

import json
import re
import unicodedata
from collections.abc import Iterable

MAX_CHARACTERS = 120
MAX_BYTES = 240
"""Largest size of an id in UTF-8: file systems allow 255 bytes, and folders of specimens add 9."""

_RESERVED = re.compile(
    r"(?:CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(?:COM|LPT)[\d¹²³])(?:\..*)?", re.IGNORECASE
)
_INVISIBLE = ("Cc", "Cf", "Cs", "Zl", "Zp")  # control, format, surrogate, line, paragraph


def id_problem(text: str) -> str | None:  # noqa: PLR0911 - a list of rules
    """Return why a text cannot be the id of a plate or specimen; None if it can."""
    size = len(text.encode(errors="replace"))
    if not text:
        return "is empty; expected an id such as PDAC-0042"
    if (wrong := first_invisible(text)) is not None:
        return f"contains the character U+{ord(wrong):04X}; expected printable characters"
    if wrong := next((each for each in text if each in "/\\"), None):
        return f"contains {wrong!r}; expected no path separator"
    if text[0] == "." or text[0].isspace():
        return f"starts with {text[0]!r}; expected another first character"
    if text[-1] == "." or text[-1].isspace():
        return f"ends with {text[-1]!r}; expected another last character"
    if _RESERVED.fullmatch(text):
        return "is a name of a device on Windows; expected another id"
    if len(text) > MAX_CHARACTERS or size > MAX_BYTES:
        return (
            f"has {len(text)} characters ({size} bytes in UTF-8); "
            f"expected at most {MAX_CHARACTERS} characters and {MAX_BYTES} bytes"
        )
    return None


def checked_id(text: str) -> str:
    """Return the id of a plate or specimen unchanged.

    Raises
    ------
    ValueError
        If the text cannot be an id.
    """
    if problem := id_problem(text):
        raise ValueError(f"'{printable(text)[:MAX_CHARACTERS]}' {problem}")
    return text


def first_invisible(text: str) -> str | None:
    """Return the first control or format character, line separator or surrogate of a text."""
    return next((each for each in text if unicodedata.category(each) in _INVISIBLE), None)


def printable(text: str) -> str:
    r"""Return a text in which each character that is not printable is an escape such as \n.

    A file name with a line break or a terminal code then stays on its line and does nothing.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


def printable_json(text: str) -> str:
    """Return JSON text in which each character that is not printable is a JSON escape.

    JSON itself allows most of them: DEL, C1 terminal codes and Unicode line separators. Line breaks
    between the values remain.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each == "\n" else json.dumps(each)[1:-1] for each in text
    )


def printable_lines(texts: Iterable[str]) -> str:
    """Return the lines of texts, each text on one line."""
    return "\n".join(map(printable, texts))
