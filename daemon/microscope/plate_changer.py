"""The plate under the microscope, recorded in a file so that it is known after a crash."""

from collections.abc import Callable
from pathlib import Path

from acquisition.durable_files import write_durably
from acquisition.microscope.plate_loaders import PlateLoader


class PlateChanger:
    """Loads one plate at a time; a loaded plate is removed before the next one is loaded.

    A robot arm must not put a plate on top of another, so the id of the loaded plate is kept in a
    file. A plate that was loaded before this process started is loaded again before it is imaged:
    someone may have moved it since.

    Parameters
    ----------
    loader
        Puts plates under the microscope and removes them.
    record
        The file with the id of the loaded plate; empty or missing without a plate.
    report_activity
        Is called with a description before each movement.
    """

    def __init__(
        self, loader: PlateLoader, record: Path, report_activity: Callable[[str], None]
    ) -> None:
        self._loader = loader
        self._record = record
        self._report_activity = report_activity
        recorded = record.read_text(encoding="utf-8") if record.exists() else ""
        self._loaded = recorded or None
        self._is_left_over = self._loaded is not None  # loaded by an earlier process

    @property
    def loaded(self) -> str | None:
        """The id of the plate under the microscope, or None without a plate."""
        return self._loaded

    def load(self, plate: str) -> None:
        """Put a plate (id) under the microscope; return at once if it is there already.

        Raises
        ------
        MicroscopeError
            If the plate does not come, or the previous one cannot be removed.
        OutputError
            If the record cannot be written.
        """
        if self._loaded == plate and not self._is_left_over:
            return
        self.unload()
        self._report_activity(f"plate {plate} is loaded")
        self._loader.load(plate)
        self._loaded = plate
        write_durably(self._record, plate.encode())

    def unload(self) -> None:
        """Remove the plate from the microscope, if there is one.

        Errors are those of :meth:`load`.
        """
        if self._loaded is not None:
            self._report_activity(f"plate {self._loaded} is removed")
            self._loader.unload(self._loaded)
            self._loaded, self._is_left_over = None, False
            write_durably(self._record, b"")
