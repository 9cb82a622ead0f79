"""Assembly of the trajectories of a plate from its observations and plate map."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from inference.departure.crops import (
    different_crops,
    main_crop,
    other_crops,
    other_crops_note,
)
from inference.departure.measuring_methods import (
    deciding_images,
    main_method,
    without_other_methods,
)
from inference.departure.scales import ScaleProblem, image_problem, scale_problems
from inference.tissue.measures import has_predicted_stain
from inference.tissue.ranked_measures import (
    RANKED_MEASURES,
    STAIN_FEATURES,
    ranked_values,
    stain_values,
)
from schemas.embedding_id import embedding_id
from schemas.errors import ProfileError
from schemas.observation import Observation, VisitVersion
from schemas.plate_map import PlateMap
from schemas.plate_run import is_in_run
from schemas.quality import Flag
from schemas.tissue import Unsure
from schemas.trajectory import Representation, Trajectories

DOSED_AT_UNKNOWN = (
    "The plate map has no dosed_at: images of the dosing day (day {day}) are assumed to be "
    "from before dosing."
)
AFTER_DOSING = (
    "{count} images of the dosing day (day {day}) were taken after dosed_at and not used as "
    "images from before dosing."
)
EMBEDDING_ALONE_NOTE = (
    "The tissue of {count} of {all} images was not measured: all wells are compared by their "
    "embedding alone."
)
EXCLUDED = "image of day {day} does not count: {reason}"
REFUSED = "image of day {day} refused: no background in view"
MEASURES_ALONE_NOTE = (
    "The encoder's bundle has ranking_weight 0: its embedding has no influence on this ranking, "
    "which compares wells by the measures alone."
)


@dataclass(frozen=True, eq=False)
class AssembledPlate:
    """The selected observations of one plate up to one culture day, arranged as N wells × T days.

    Values are NaN where a well has no image of a day, or where its tissue was not measured by the
    method of the plate. A
    refused image has no measures: its well is left out where measures are compared, and the other
    wells are compared as if the image was missing.
    """

    plate_map: PlateMap
    encoder_id: str  # "" without observations
    crop: str | None  # part of the image of which all embeddings are; None: the whole field
    measured_by: str | None  # segmenter and version of all measures; None: not recorded
    days: tuple[int, ...]  # T, ascending culture days with an observation
    embeddings: npt.NDArray[np.float64]  # (N, T, E)
    measures: npt.NDArray[np.float64]  # (N, T, M), the measures that a ranking compares
    stain: npt.NDArray[np.float64]  # (N, T, 2), predictions that only calibrations compare
    is_measured: npt.NDArray[np.bool_]  # (N, T)
    deciding: int  # observations that decide a score: the last pre-dose image and the readout image
    deciding_unmeasured: int  # those of them that were neither measured nor refused
    other_methods: tuple[str | None, ...]  # of each image whose measures are not used because of it
    deciding_other_methods: int  # number of deciding images among them
    deciding_crops: tuple[str | None, ...]  # of each deciding image
    other_crops: dict[str, str]  # reason by well with a deciding image of another crop
    flags: dict[str, tuple[Flag, ...]]  # quality flags of the deciding images, by well
    unsure: dict[str, tuple[Unsure, ...]]  # doubts about the outline on the last day, by well
    refused: dict[str, str]  # reason by well with an image of the last day but without measures
    left_out: dict[str, str]  # reason by well with an image of the last day but without values

    def allowed_representation(
        self, representation: Representation, embedding_weight: float
    ) -> tuple[Representation, tuple[str, ...]]:
        """Return (allowed representation, notes) for a requested one and an embedding weight.

        An embedding with the weight 0 is compared only if it is compared alone.
        """
        if representation == "embedding":
            return representation, ()
        if self.deciding_unmeasured:
            note = EMBEDDING_ALONE_NOTE.format(count=self.deciding_unmeasured, all=self.deciding)
            return "embedding", (note,)
        if self.deciding_other_methods:
            return "embedding", ()  # a note on the methods is always given
        if representation == "both" and embedding_weight == 0:
            return "measures", (MEASURES_ALONE_NOTE,)
        if representation == "both" and self.other_crops:
            return "measures", (other_crops_note(self.deciding_crops),)
        return representation, ()

    def reasons_left_out(
        self, representation: Representation, embedding_weight: float
    ) -> dict[str, str]:
        """Return the reason by left-out well, for a requested representation and a weight.

        Wells without measures because of a refused image are left out if measures are compared, and
        wells with an embedding of another crop if embeddings are compared.
        """
        representation, _ = self.allowed_representation(representation, embedding_weight)
        if representation == "embedding":
            return self.other_crops | self.left_out
        return self.refused | self.left_out

    def trajectories(self, representation: Representation, embedding_weight: float) -> Trajectories:
        """Return the Trajectories of all wells in a representation, with an embedding weight.

        If the plate or the weight does not allow the requested representation, the allowed one is
        used.

        Raises
        ------
        ProfileError
            If embeddings alone are compared, and those of most wells are of different crops.
        """
        representation, _ = self.allowed_representation(representation, embedding_weight)
        imaged = np.isfinite(self.embeddings).any(axis=(1, 2)).sum()
        if representation == "embedding" and 2 * len(self.other_crops) > imaged:
            raise ProfileError(self.plate_map.plate, different_crops(self.deciding_crops))
        dimension = 0 if representation == "measures" else self.embeddings.shape[2]
        used = np.ones(len(self.days), dtype=np.bool_)
        if representation != "embedding":
            used &= self.is_measured.any(axis=0)
        encoder_id = embedding_id(self.encoder_id, self.crop if dimension else None)
        features = join_features(representation, self.embeddings, self.measures, self.is_measured)
        return Trajectories(
            plate=self.plate_map.plate,
            wells=tuple(entry.well for entry in self.plate_map.entries),
            groups=tuple(entry.group for entry in self.plate_map.entries),
            treatments=tuple(entry.treatment for entry in self.plate_map.entries),
            days=tuple(day for day, is_used in zip(self.days, used, strict=True) if is_used),
            features=features[:, used],
            feature_names=feature_names(representation, dimension),
            embedding_dimension=dimension,
            encoder_id=encoder_id,
            measured_by=None if representation == "embedding" else self.measured_by,
        )

    def calibration_trajectories(
        self, representation: Representation, embedding_weight: float
    ) -> Trajectories:
        """Return the Trajectories that a calibration of deterioration compares.

        They are those of :meth:`trajectories`, with the predictions of the stain bundle after the
        measures if the method of the plate has one.
        """
        trajectories = self.trajectories(representation, embedding_weight)
        if trajectories.representation == "embedding" or not has_predicted_stain(self.measured_by):
            return trajectories
        used = [self.days.index(day) for day in trajectories.days]
        return replace(
            trajectories,
            features=np.concatenate([trajectories.features, self.stain[:, used]], axis=2),
            feature_names=(*trajectories.feature_names, *STAIN_FEATURES),
        )


def select_images(images: Iterable[VisitVersion], plate_map: PlateMap) -> list[VisitVersion]:
    """Return one VisitVersion per well and culture day of a plate map.

    It is the newest complete one, else the newest.

    Of several fields of a well on a day, the one that was received last is used, because the source
    returns images of a lower field, or of another configured one, although there are others.
    Excluded images and images outside the run of the plate map are never selected, and neither are
    images of the dosing day that were taken after ``dosed_at``, and wells that the plate map does
    not name. Of several
    measurements of the same files with different scales, the one with the scale that the plate map
    decides is selected.
    """
    wells = plate_map.by_well
    usable = [
        image
        for image in images
        if image.key.well in wells
        and image.excluded is None
        and not _taken_after_dosing(image, plate_map)
        and is_in_run(image, plate_map)
    ]
    fields = {
        (image.key.well, image.day): image.key.field
        for image in sorted(usable, key=lambda each: (each.received_at, each.observation_id))
    }
    newest: dict[tuple[str, int], VisitVersion] = {}
    measurements: defaultdict[object, list[VisitVersion]] = defaultdict(list)
    for image in sorted(usable, key=_age):
        if image.key.field == fields[image.key.well, image.day]:
            newest[image.key.well, image.day] = image
            measurements[_content(image)].append(image)
    return [
        _with_decided_scale(measurements[_content(newest[place])], plate_map)
        for place in sorted(newest)
    ]


def excluded_wells(
    images: Iterable[VisitVersion], plate_map: PlateMap, readout_day: int
) -> dict[str, str]:
    """Return the reason for each well with tissue all of whose images of a day are excluded.

    Parameters
    ----------
    images
        All stored images of the plate, as :func:`select_images` gets them.
    """
    of_day = [image for image in images if image.day == readout_day and is_in_run(image, plate_map)]
    imaged = {image.key.well for image in of_day if image.excluded is None}
    reasons = {image.key.well: image.excluded for image in sorted(of_day, key=_age)}
    return {
        well: EXCLUDED.format(day=readout_day, reason=reasons[well])
        for well in plate_map.wells_with_tissue
        if well in reasons and well not in imaged
    }


def _content(image: VisitVersion) -> object:
    """Return the identity of the files that an image was measured from."""
    return image.key, image.day, image.pixel_digest, image.file_scales


def _with_decided_scale(measurements: Sequence[VisitVersion], plate_map: PlateMap) -> VisitVersion:
    """Return the newest measurement with the scale that the map decides, else the newest one."""
    if len(measurements) > 1:
        for image in reversed(measurements):
            if image_problem(image, plate_map) is None:
                return image
    return measurements[-1]


def _age(image: VisitVersion) -> tuple[bool, str, int, int]:
    """Return the sort key of the versions of one well and day: the selected one is the last.

    The day in the name of a visit is not compared: a corrected ``seeded_at`` changes later names.
    """
    _, _, time_and_field = image.key.visit.partition("-")
    return image.complete, time_and_field, image.key.run, image.version


def dosing_notes(images: Iterable[VisitVersion], plate_map: PlateMap) -> tuple[str, ...]:
    """Return notes on VisitVersions of a plate map's dosing day that may be from after dosing."""
    day = plate_map.dosed_on_day
    if plate_map.dosed_at is None:
        return (DOSED_AT_UNKNOWN.format(day=day),)
    after = sum(
        _taken_after_dosing(image, plate_map) and is_in_run(image, plate_map) for image in images
    )
    return (AFTER_DOSING.format(count=after, day=day),) if after else ()


def join_features(
    representation: Representation,
    embeddings: npt.NDArray[np.float64],
    measures: npt.NDArray[np.float64],
    is_measured: npt.NDArray[np.bool_],
) -> npt.NDArray[np.float64]:
    """Return the (N, T, D) features of a representation, for N wells on T days.

    With "both", a well that is not measured on a day has no embedding of that day either, so that
    it is not compared as if its measures were those of the median well.

    Parameters
    ----------
    embeddings, measures
        (N, T, E) and (N, T, M).
    is_measured
        (N, T), True where the tissue was measured.
    """
    match representation:
        case "embedding":
            return embeddings
        case "measures":
            return measures
        case "both":
            measured = np.where(is_measured[:, :, None], embeddings, np.nan)
            return np.concatenate([measured, measures], axis=2)


def feature_names(representation: Representation, dimension: int) -> tuple[str, ...]:
    """Return the feature names of a representation with an embedding of ``dimension`` values."""
    embedded = (
        ()
        if representation == "measures"
        else tuple(f"embedding_{number}" for number in range(dimension))
    )
    return embedded if representation == "embedding" else (*embedded, *RANKED_MEASURES)


def assemble(
    observations: Iterable[Observation], plate_map: PlateMap, *, through_day: int
) -> AssembledPlate:
    """Arrange the Observations of a plate map, up to a culture day, as an AssembledPlate.

    Wells that the plate map does not name take no part, and neither do wells whose scale is
    contradictory: they have no values. Measures by another method than that of most deciding images
    are not used, and neither are embeddings of another crop. No other quality flag leaves a well
    out: dying tissue can look blurred, cut or empty, and is then the tissue of interest.

    Parameters
    ----------
    observations
        The selected observation of each well and day, as :func:`select_images` selects them.

    Raises
    ------
    ProfileError
        If the embeddings come from more than one encoder.
    """
    wells = plate_map.by_well
    read = [seen for seen in observations if seen.key.well in wells and seen.day <= through_day]
    method = main_method(read, plate_map, through_day)
    used = without_other_methods(read, method)
    encoders = sorted({seen.encoder_id for seen in used})
    if len(encoders) > 1:
        raise ProfileError(
            plate_map.plate,
            f"embeddings of {len(encoders)} encoders: {', '.join(encoders)}; "
            "expected one, embed the images again",
        )
    row_of = {entry.well: row for row, entry in enumerate(plate_map.entries)}
    days = sorted({seen.day for seen in used})
    shape = len(row_of), len(days)
    embeddings = np.full((*shape, len(used[0].embedding) if used else 0), np.nan)
    measures = np.full((*shape, len(RANKED_MEASURES)), np.nan)
    stain = np.full((*shape, len(STAIN_FEATURES)), np.nan)
    is_measured = np.zeros(shape, dtype=bool)
    problems = scale_problems(used, plate_map)
    comparable = [seen for seen in used if seen.key.well not in problems]
    crop = main_crop(comparable, plate_map, through_day)
    for seen in comparable:
        place = row_of[seen.key.well], days.index(seen.day)
        if seen.crop == crop:
            embeddings[place] = seen.embedding
        if seen.measures:
            is_measured[place] = True
            measures[place] = ranked_values(seen.measures)
            stain[place] = stain_values(seen.measures)
    deciding = deciding_images(comparable, plate_map, through_day)
    unmeasured = [seen for seen in deciding if not (seen.measures or seen.is_refused)]
    deciding_other = sum(seen.measured_by != method for seen in unmeasured)
    return AssembledPlate(
        plate_map=plate_map,
        encoder_id=encoders[0] if encoders else "",
        crop=crop,
        measured_by=method,
        days=tuple(days),
        embeddings=embeddings,
        measures=measures,
        stain=stain,
        is_measured=is_measured,
        deciding=len(deciding),
        deciding_unmeasured=len(unmeasured) - deciding_other,
        deciding_other_methods=deciding_other,
        other_methods=tuple(
            seen.measured_by for seen in read if seen.measures and seen.measured_by != method
        ),
        deciding_crops=tuple(seen.crop for seen in deciding),
        other_crops=other_crops(comparable, plate_map, through_day),
        flags=_flags(deciding_images(used, plate_map, through_day), problems),
        unsure={
            seen.key.well: seen.unsure for seen in used if seen.day == through_day and seen.unsure
        },
        refused=refused_wells(used, plate_map, through_day),
        left_out=_left_out(used, problems, plate_map, through_day),
    )


def _taken_after_dosing(seen: VisitVersion, plate_map: PlateMap) -> bool:
    if plate_map.dosed_at is None or seen.taken_at is None or seen.day != plate_map.dosed_on_day:
        return False
    taken_at = (
        seen.taken_at
        if seen.taken_at.tzinfo
        else seen.taken_at.replace(tzinfo=plate_map.seeded_at.tzinfo)
    )
    return taken_at > plate_map.dosed_at


def _flags(
    deciding: list[Observation], problems: Mapping[str, ScaleProblem]
) -> dict[str, tuple[Flag, ...]]:
    """Return the quality flags of each well; the scale is judged by the plate map of now."""
    flags: dict[str, set[Flag]] = {well: {Flag.SCALE_DISAGREES} for well in problems}
    for seen in deciding:
        found = set(seen.quality.flags) - {Flag.SCALE_DISAGREES}
        flags.setdefault(seen.key.well, set()).update(found)
    return {
        well: tuple(flag for flag in Flag if flag in found)
        for well, found in flags.items()
        if found
    }


def refused_wells(
    observations: Iterable[Observation], plate_map: PlateMap, readout_day: int
) -> dict[str, str]:
    """Return the reason for each well with tissue whose refused images leave it without measures.

    The readout image of such a well was refused, or its images from before dosing were refused and
    none of them was measured.

    Parameters
    ----------
    observations
        The selected observation of each well and day.
    """
    reasons: dict[str, str] = {}
    by_well: defaultdict[str, list[Observation]] = defaultdict(list)
    for seen in sorted(observations, key=lambda each: each.day):
        if seen.day <= readout_day:
            by_well[seen.key.well].append(seen)
    for well in plate_map.wells_with_tissue:
        readout = [seen for seen in by_well[well] if seen.day == readout_day]
        before = [seen for seen in by_well[well] if seen.day <= plate_map.dosed_on_day]
        refused = [seen.day for seen in readout if seen.is_refused]
        if readout and not refused and not any(seen.measures for seen in before):
            refused = [seen.day for seen in before if seen.is_refused]
        if refused:
            reasons[well] = REFUSED.format(day=refused[-1])
    return reasons


def _left_out(
    used: list[Observation],
    problems: Mapping[str, ScaleProblem],
    plate_map: PlateMap,
    readout_day: int,
) -> dict[str, str]:
    """Return the reason for each well with tissue that has an image of the day and a problem."""
    with_tissue = set(plate_map.wells_with_tissue)
    return {
        seen.key.well: problems[seen.key.well].reason
        for seen in used
        if seen.day == readout_day and seen.key.well in problems and seen.key.well in with_tissue
    }
