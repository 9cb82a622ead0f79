"""Untreated wells of earlier plates of the same line, which a ranking uses."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from inference.departure.assembly import assemble, select_images
from inference.departure.crops import EMBED_COMMAND
from inference.departure.measuring_methods import MEASURE_COMMAND, name_method
from inference.departure.reduced_space import MAX_OTHER_PLATES, MIN_EARLIER_WELLS
from inference.departure.scales import has_scale, scale_problems
from inference.ports import EarlierPlateReader, SequenceModel
from schemas.embedding_id import crop_of
from schemas.observation import VisitVersion
from schemas.plate_map import Group, PlateMap
from schemas.trajectory import Trajectories

OTHERS_WITHOUT_SCALE = (
    "{count} earlier plates are not used, because their images have no scale and those of this "
    "plate have one: {plates}."
)
OTHERS_WITH_SCALE = (
    "{count} earlier plates are not used, because their images have a scale and those of this "
    "plate have none: {plates}."
)
OTHER_METHOD = (
    "{count} earlier plates are not used, because their images were not measured by {method} as "
    "those of this plate were: {plates}. {command} measures them again if their files exist."
)
OTHER_CROP = (
    "{count} earlier plates are not used, because the encoder embedded other parts of their images "
    "than of the images of this plate: {plates}. {command} embeds the stored images again if their "
    "files exist."
)


@dataclass(frozen=True, eq=False)
class EarlierPlates:
    """Trajectories of untreated wells of earlier plates, newest plate first."""

    trajectories: tuple[Trajectories, ...] = ()
    digest: str = ""  # SHA-256 of which images of which wells; "" without any
    notes: tuple[str, ...] = ()  # on plates that were left out because of scale, method or crop

    @property
    def plates(self) -> tuple[str, ...]:
        """Ids of the earlier plates."""
        return tuple(each.plate for each in self.trajectories)


def earlier_plates(
    reader: EarlierPlateReader,
    plate_map: PlateMap,
    own: Trajectories,
    *,
    with_scale: bool,
    day: int,
    encoder_id: str,
    sequence_model: SequenceModel | None = None,
) -> EarlierPlates:
    """Read from a reader the EarlierPlates of a plate map and Trajectories, for a day and encoder.

    At most :data:`MAX_OTHER_PLATES` comparable plates with their untreated wells are returned.

    A plate is comparable if it has the same features, its images have a scale as those of the
    ranked plate do or have none as they do, the same method measured them, the same part of them is
    embedded, and at least three untreated wells have an image of ``day`` and one from before dosing
    on a day that the ranked plate has too.

    Parameters
    ----------
    own
        Trajectories of the ranked plate.
    with_scale
        Whether the images of the ranked plate have a scale.
    sequence_model
        Needs images of all its days up to dosing; without it the last pre-dose image is enough.
    """
    taken, images, other_scale, other_method, other_crop = [], [], [], [], []
    by_measures = own.representation != "embedding"
    for other in reader.earlier_plates(plate_map, day, encoder_id, MAX_OTHER_PLATES):
        untreated = other.model_copy(
            update={
                "entries": tuple(entry for entry in other.entries if entry.group is Group.UNTREATED)
            }
        )
        before = {each for each in own.days if each <= plate_map.dosed_on_day}
        images_of_plate = [
            image
            for image in select_images(reader.imaged(other.plate, encoder_id), untreated)
            if image.day <= day
        ]
        problems = scale_problems(images_of_plate, untreated)
        found = _before_and_on(
            day,
            before,
            [image for image in images_of_plate if image.key.well not in problems],
            whole=sequence_model is not None,
        )
        needed = set(sequence_model.days) if sequence_model else set()
        if len({image.key.well for image in found}) < MIN_EARLIER_WELLS or not needed <= {
            image.day for image in found
        }:
            continue
        if has_scale(found) != with_scale:
            other_scale.append(other.plate)
            continue
        if by_measures and {image.measured_by for image in found} != {own.measured_by}:
            other_method.append(other.plate)
            continue
        crops = {image.crop for image in found}
        if own.embedding_dimension and crops != {crop_of(own.encoder_id)}:
            other_crop.append(other.plate)
            continue
        laid_out = assemble(
            reader.observations(found, encoder_id),
            untreated,
            through_day=day,
        ).trajectories(own.representation, embedding_weight=1.0)
        if (
            laid_out.representation == own.representation
        ):  # its tissue was measured, if this plate's was
            taken.append(laid_out)
            images += [(other.plate, *_content(image, own.measured_by)) for image in found]
    digest = hashlib.sha256(json.dumps(images).encode()).hexdigest() if images else ""
    notes = (
        *_scale_notes(other_scale, with_scale=with_scale),
        *_method_notes(other_method, own.measured_by),
        *_crop_notes(other_crop),
    )
    return EarlierPlates(tuple(taken), digest, notes)


def _content(image: VisitVersion, measured_by: str | None) -> tuple[str | int, ...]:
    """Return the identity of an image and its measures; a method that is not recorded is absent."""
    method = () if measured_by is None else (measured_by,)
    return image.key.well, image.day, image.digest, *method


def _method_notes(plates: Sequence[str], method: str | None) -> tuple[str, ...]:
    """Return a note on the plates that were left out because of their method, if any."""
    if not plates:
        return ()
    note = OTHER_METHOD.format(
        count=len(plates),
        method=name_method(method),
        plates=", ".join(plates),
        command=MEASURE_COMMAND,
    )
    return (note,)


def _crop_notes(plates: Sequence[str]) -> tuple[str, ...]:
    """Return a note on the plates that were left out because of their crop, if any."""
    if not plates:
        return ()
    note = OTHER_CROP.format(count=len(plates), plates=", ".join(plates), command=EMBED_COMMAND)
    return (note,)


def _scale_notes(plates: Sequence[str], *, with_scale: bool) -> tuple[str, ...]:
    """Return a note on the plates that were left out because of their scale, if any."""
    if not plates:
        return ()
    note = OTHERS_WITHOUT_SCALE if with_scale else OTHERS_WITH_SCALE
    return (note.format(count=len(plates), plates=", ".join(plates)),)


def _before_and_on(
    day: int, before: set[int], images: Sequence[VisitVersion], *, whole: bool
) -> list[VisitVersion]:
    """Return the readout image and the last pre-dose image of each well that has both.

    With ``whole``, all images of the days ``before`` are returned, not only the last one.
    """
    of_wells: dict[str, list[VisitVersion]] = {}
    for image in images:  # by well and day
        if image.day in before or image.day == day:
            of_wells.setdefault(image.key.well, []).append(image)
    both = [seen for seen in of_wells.values() if seen[-1].day == day and len(seen) > 1]
    return [image for seen in both for image in (seen if whole else seen[-2:])]
