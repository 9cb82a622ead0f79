"""Take the images of one well: its fields, and the ranked image that is made from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from acquisition.channels import Channel, plane_heights
from acquisition.microscope.fields import FieldPosition, largest_tissue
from acquisition.microscope.mosaic import check_agreement, stitch
from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.settings import FieldsUse, MicroscopeSettings
from acquisition.microscope.well_focus import WellFocus
from acquisition.ports import Frame, Microscope
from schemas.errors import MicroscopeError


@dataclass(frozen=True)
class WellVisit:
    """One visit of a well: its fields, and the focus of bright field."""

    plate: str
    day: int
    middle: WellPosition
    fields: Sequence[FieldPosition]
    focus: WellFocus  # of bright field


@dataclass(frozen=True)
class FieldImaging:
    """Takes the fields of a well one after the other.

    Parameters
    ----------
    emit
        Is called with the name and fields of each event.
    report_progress
        Is called with the name of each step before it begins.
    """

    scope: Microscope
    settings: MicroscopeSettings
    emit: Callable[..., None]
    report_progress: Callable[[str], None]

    def find_tissue(self, fields: Sequence[FieldPosition], expected_um: float) -> FieldPosition:
        """Move to the field with the largest tissue at an expected focus height, and return it.

        One frame of each field decides, unless there is only one field.
        """
        found = fields[0]
        if len(fields) > 1:
            frames = [stack[0] for stack in self._stacks(fields, [expected_um], None)]
            found = fields[largest_tissue([frame.pixels for frame in frames])]
        self.scope.move_to(found.x_um, found.y_um)
        return found

    def bright_field(self, visit: WellVisit) -> list[WellFrames]:
        """Return the images of a visit in bright field: the ranked one last.

        With one field it is the only image. Else the ranked image is the field with the largest
        tissue or a mosaic of all fields, and the others are single fields.
        """
        settings = self.settings
        heights = plane_heights(visit.focus.z_um, settings.planes, settings.plane_step_um)
        stacks = self._stacks(visit.fields, heights, None)
        images = [
            self._image(visit, field, frames, heights, None)
            for field, frames in zip(visit.fields, stacks, strict=True)
        ]
        if len(images) == 1:
            return [replace(images[0], is_ranked=True)]
        middles = [frames[len(heights) // 2] for frames in stacks]
        best = largest_tissue([frame.pixels for frame in middles])
        if settings.fields_use is FieldsUse.MOSAIC:
            try:
                check_agreement(middles, self.scope.format)
                return [
                    *images,
                    replace(self._mosaic(visit, stacks, heights, None), is_ranked=True),
                ]
            except MicroscopeError as error:
                self._report_no_mosaic(visit, visit.fields[best], error)
        ranked = replace(images.pop(best), is_ranked=True)
        return [*images, ranked]

    def other_channel(self, visit: WellVisit, channel: Channel) -> list[WellFrames]:
        """Return the images of a visit in a channel besides bright field; none is ranked.

        They are the single fields. If mosaics are ranked, a mosaic of the channel is the last one.
        """
        heights = channel.heights(visit.focus.z_um)
        stacks = self._stacks(visit.fields, heights, channel)
        images = [
            self._image(visit, field, frames, heights, channel)
            for field, frames in zip(visit.fields, stacks, strict=True)
        ]
        if len(images) > 1 and self.settings.fields_use is FieldsUse.MOSAIC:
            images.append(self._mosaic(visit, stacks, heights, channel))
        return images

    def _stacks(
        self, fields: Sequence[FieldPosition], heights: Sequence[float], channel: Channel | None
    ) -> list[list[Frame]]:
        """Return the frames of each field at heights in µm; the stage is at the only field."""
        stacks = []
        for field in fields:
            if len(fields) > 1:
                self.report_progress(f"field {field.number} is imaged")
                self.scope.move_to(field.x_um, field.y_um)
            stacks.append(
                self.scope.stack(heights, channel) if channel else self.scope.stack(heights)
            )
        return stacks

    def _image(
        self,
        visit: WellVisit,
        field: FieldPosition,
        frames: Sequence[Frame],
        heights: Sequence[float],
        channel: Channel | None,
    ) -> WellFrames:
        """Return the image of one field, which is not ranked."""
        return WellFrames(
            visit.plate,
            visit.middle.well,
            visit.day,
            tuple(frames),
            self.scope.format,
            field.x_um,
            field.y_um,
            tuple(heights),
            self.settings.plate,
            visit.focus.annotation(),
            channel=channel.name if channel else None,
            field=field.number,
            is_ranked=False,
        )

    def _mosaic(
        self,
        visit: WellVisit,
        stacks: Sequence[Sequence[Frame]],
        heights: Sequence[float],
        channel: Channel | None,
    ) -> WellFrames:
        """Return the mosaic of all fields of a visit, which is not ranked.

        Raises
        ------
        MicroscopeError
            If there is a gap between the fields.
        """
        mosaic = stitch(stacks, self.scope.format)
        middle = FieldPosition(0, visit.middle.x_um, visit.middle.y_um)
        image = self._image(visit, middle, mosaic.frames, heights, channel)
        return replace(image, format=mosaic.format)

    def _report_no_mosaic(
        self, visit: WellVisit, field: FieldPosition, error: MicroscopeError
    ) -> None:
        """Report that a field is ranked because the fields of a well cannot be stitched."""
        where = {"plate": visit.plate, "day": visit.day, "well": visit.middle.well}
        self.emit("mosaic.failed", **where, ranked_field=field.number, problem=str(error))
        message = (
            f"plate {visit.plate}, day {visit.day}: no mosaic of well {visit.middle.well}, so that "
            f"only its field {field.number} is ranked: {error}"
        )
        cause = f"{visit.plate} mosaic"
        self.emit("alert", kind="microscope", cause=cause, message=message, plate=visit.plate)
