"""Read the files of a plate map or an assay, and tell their faults from those of the machine."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from acquisition.drop_folder.regular_files import open_regular
from schemas.errors import MachineError, PlateMapError
from schemas.machine_faults import is_machine_fault, reason_of
from schemas.plate_tables import Table, csv_table, decode_text

MAX_BYTES = 1_000_000
"""Largest size of a file of a plate map or assay."""
_Result = TypeVar("_Result")


def read_text(root: Path, path: str, expected: str) -> str:
    """Return the text of the file at a path below a drop folder; ``expected`` names its kind.

    Raises
    ------
    PlateMapError
        If the file is no text or is larger than 1 MB.
    MachineError
        If the file cannot be read now.
    """
    return decode_text(_read_bytes(root, path, expected), path)


def read_table(root: Path, path: str, columns: Sequence[str], expected: str) -> Table:
    """Return the Table with given columns in the CSV or Excel file at a path below a drop folder.

    Parameters
    ----------
    root
        The drop folder.
    path
        The path of the file below ``root``; a path that ends in ``.xlsx`` is a workbook.
    columns
        The columns of the table.
    expected
        The kind of file that is expected, for the error message.

    Raises
    ------
    PlateMapError
        If the file is no table or is larger than 1 MB.
    MachineError
        If the file cannot be read now.
    """
    content = _read_bytes(root, path, expected)
    if path.endswith(".xlsx"):
        from acquisition.drop_folder.xlsx_tables import xlsx_table

        return xlsx_table(content, path)
    return csv_table(content, path, columns)


def result_of(read: Callable[[], _Result], path: str) -> _Result | PlateMapError:
    """Return the result of a function that reads the file at a path, or its PlateMapError.

    No file, whatever it contains, stops the caller.

    Raises
    ------
    MachineError
        If the disk, the network or the memory failed. The same file may be readable later.
    """
    try:
        return read()
    except PlateMapError as error:
        return error
    except MachineError:
        raise
    except Exception as error:  # the boundary of one plate map or assay
        if is_machine_fault(error):
            raise MachineError(
                path, f"cannot be read: {type(error).__name__}; it is tried again"
            ) from error
        return PlateMapError(path, reason_of(error))


def _read_bytes(root: Path, path: str, expected: str) -> bytes:
    """Return the content of a file; raise PlateMapError if it is larger than 1 MB.

    Raise MachineError if the disk or the network failed, or the file disappeared.
    """
    try:
        with open_regular(root / path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        text = f"cannot be read: {error.strerror or error}"
        if is_machine_fault(error) or isinstance(error, FileNotFoundError):
            raise MachineError(path, f"{text}; it is tried again") from error
        raise PlateMapError(path, text) from error
    if len(content) > MAX_BYTES:
        raise PlateMapError(path, f"is larger than {MAX_BYTES} bytes; expected {expected}")
    return content
