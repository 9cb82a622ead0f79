"""The pictures of the wells of a plate on its last culture days, as files in the state folder.

They are small copies for comparison, ``state/pictures/PLATE/dayNN/WELL.npy``; the archive has the
images.
"""

import contextlib
import io
import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from acquisition.durable_files import write_durably
from acquisition.microscope.pictures import SIDE_PX, Picture, WellPictures

_DAYS_KEPT = 2  # before the day of imaging


class PictureStore:
    """The pictures of one plate (id), in the state folder of the microscope.

    Parameters
    ----------
    since
        Files that were written before are of an earlier use of the plate id; None: all count.
    """

    def __init__(self, state: Path, plate: str, since: datetime | None) -> None:
        self._folder = state / "pictures" / plate
        self._since = since

    def save(self, day: int, well: str, pictures: WellPictures) -> None:
        """Store the pictures of a well on a culture day.

        Only this day and the two days with pictures before it are kept.

        Raises
        ------
        OutputError
            If the file cannot be written.
        """
        folder = self._day_folder(day)
        is_new = not folder.is_dir()
        content = io.BytesIO()
        np.save(content, np.stack([field.detail for field in pictures]).astype(np.float16))
        write_durably(folder / f"{well}.npy", content.getvalue())
        if is_new:
            days = self._days()
            kept = [each for each in days if each < day][-_DAYS_KEPT:]
            for old in {*days} - {*kept, day}:
                shutil.rmtree(self._day_folder(old), ignore_errors=True)

    def discard(self, day: int, well: str) -> None:
        """Delete the pictures of a well on a culture day, because they show another place."""
        (self._day_folder(day) / f"{well}.npy").unlink(missing_ok=True)

    def load(self, day: int) -> dict[str, WellPictures]:
        """Return the stored pictures of a culture day by well; a damaged file is left out."""
        found = {}
        for path in sorted(self._day_folder(day).glob("*.npy")):
            with contextlib.suppress(OSError, ValueError, EOFError):
                if self._is_of_run(path):
                    details = np.load(path, allow_pickle=False).astype(np.float32)
                    if details.ndim == 3 and details.shape[1:] == (SIDE_PX, SIDE_PX):  # noqa: PLR2004 - fields, rows, columns
                        found[path.stem] = tuple(Picture(detail) for detail in details)
        return found

    def load_day_before(self, day: int) -> tuple[int, dict[str, WellPictures]]:
        """Return the last culture day before a day with pictures, and these; 0 if there is none."""
        for before in reversed([each for each in self._days() if each < day]):
            if pictures := self.load(before):
                return before, pictures
        return 0, {}

    def _is_of_run(self, path: Path) -> bool:
        """Return whether a file was written in the present use of the plate id."""
        written = datetime.fromtimestamp(path.stat().st_mtime, tz=UTC)
        return self._since is None or written >= self._since

    def _day_folder(self, day: int) -> Path:
        """Return the folder with the pictures of a culture day."""
        return self._folder / f"day{day:02d}"

    def _days(self) -> list[int]:
        """Return the culture days that have a folder, rising."""
        numbers = (path.name.removeprefix("day") for path in self._folder.glob("day*"))
        return sorted(int(number) for number in numbers if number.isdigit())
