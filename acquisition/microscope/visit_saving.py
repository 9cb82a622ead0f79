"""Save the images of a visit in the archive, record them in the journal, and report them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from acquisition.microscope.image_archive import save_visit
from acquisition.microscope.imaging_journal import ImagingJournal
from acquisition.microscope.imaging_run import ImagingRun
from acquisition.microscope.ome_tiff import WellFrames


@dataclass(frozen=True)
class VisitSaving:
    """Saves the images of the wells of a run.

    Parameters
    ----------
    emit
        Is called with the name and fields of each event.
    clock
        Returns the current time.
    is_focus_searched
        Whether the events contain if the focus was found.
    """

    archive: Path
    journal: ImagingJournal
    emit: Callable[..., None]
    clock: Callable[[], datetime]
    is_focus_searched: bool

    def save(self, run: ImagingRun, well: str) -> None:
        """Save the images of a well in the archive, bright field first, and record and report them.

        Raises
        ------
        MicroscopeError
            If the frames do not have the format of the camera.
        OutputError
            If an image or the journal cannot be written.
        """
        plan, of_well = run.plan, run.images.pop(well)
        focus = of_well.focus
        of_plate = {"plate": plan.plate, "day": plan.day, "well": well}
        z_um = round(focus.z_um, 1)
        if of_well.bright_field:
            file = self._save_images(of_well.bright_field, None)
            run.saved.append(well)
            run.focus[well] = focus
            self.emit(
                "well.saved",
                **of_plate,
                **({"focus_found": not focus.is_lost} if self.is_focus_searched else {}),
                file=file,
                z_um=z_um,
                focus=focus.found_by.value,
                focus_verified=focus.is_verified,
            )
        for channel, images in of_well.channels.items():
            file = self._save_images(images, channel)
            self.emit("channel.saved", **of_plate, channel=channel, file=file, z_um=z_um)

    def _save_images(self, images: Sequence[WellFrames], channel: str | None) -> str:
        """Save images in one channel, the main one last; record it and return its path."""
        file = [save_visit(self.archive, image) for image in images][-1]
        name = file.relative_to(self.archive).as_posix()
        self.journal.record_saved(images[-1].well, name, self.clock(), channel)
        return str(file)
