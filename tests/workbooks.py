"""Excel workbooks as bytes, as a laboratory writes them, and with changed XML."""

import io
import zipfile
from collections.abc import Callable, Sequence

from openpyxl import Workbook
from openpyxl.worksheet.worksheet import Worksheet


def workbook(
    rows: Sequence[Sequence[object]], change: Callable[[Worksheet], object] = str
) -> bytes:
    """Return an Excel workbook with these rows, after a change of its sheet."""
    book = Workbook()
    for row in rows:
        book.active.append(list(row))
    change(book.active)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def with_part(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """Return a workbook whose first sheet is changed as XML."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for part in old.namelist():
            data = old.read(part)
            new.writestr(part, change(data) if part == "xl/worksheets/sheet1.xml" else data)
    return out.getvalue()
