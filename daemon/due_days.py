"""Selection of the days of a plate that have to be ranked now, and of their images."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from daemon.audit_trail import final_note
from daemon.calibrations import digest_with_calibration
from inference.departure.assembly import dosing_notes, excluded_wells, select_images
from inference.departure.departure_settings import DepartureSettings
from inference.departure.scales import scale_problems
from inference.tissue.condition import ConditionSettings
from schemas.calibration import Method, MethodRequest
from schemas.embedding_id import crop_of
from schemas.errors import ProfileError
from schemas.observation import VisitVersion
from schemas.plate_map import PlateMap
from schemas.plate_run import end_of_day, is_in_run
from schemas.ranking import Gate, Ranking
from schemas.trajectory import Representation
from store.ports import ObservationReader, RankingStore


class DueStore(ObservationReader, RankingStore, Protocol):
    """The parts of the store that decide whether a day is due."""


@dataclass(frozen=True)
class DaySettings:
    """Settings of the ranking of a day: time limits, method, seed and versions."""

    readout_deadline: timedelta  # longest wait for missing images, from the first received image
    correction_quiet: timedelta  # a ranked day is corrected after no new image for this long
    representation: Representation
    condition: ConditionSettings
    embedding_weight: float  # of the encoder bundle; 0: a ranking by both uses the measures alone
    field_um: float | None  # width of the encoder's field, from the encoder bundle; None: no crop
    departure: DepartureSettings
    seed: int
    config_digest: str
    code_version: str


@dataclass(frozen=True)
class Due:
    """A day of a plate that has to be ranked now."""

    plate_map: PlateMap
    day: int
    final: bool
    images: Sequence[VisitVersion]  # the selected images of all days
    inputs_digest: str  # of everything that the ranking depends on, except a calibration
    previous: Ranking | None  # the newest ranking of this day and run
    revision: int  # number of the new ranking; a later run of the plate id continues the count
    follows: Ranking | None  # the ranking whose method is kept; None: the method is chosen now
    notes: tuple[str, ...]
    excluded: Mapping[str, str] = field(default_factory=dict)  # why wells have no valid image
    is_past_deadline: bool = False  # the readout deadline of the plate has passed
    request: MethodRequest | None = None  # of a person, instead of the configured choice

    @property
    def requested_method(self) -> Method | None:
        """Method that a person requested for this ranking, or for the one that it follows."""
        if self.request is not None:
            return self.request.method
        return self.follows.requested_method if self.follows is not None else None

    @property
    def ends_without_readout(self) -> bool:
        """True if the plate gets a final ``no_readout`` when this day cannot be ranked."""
        is_first_final = self.previous is None or not self.previous.final
        return self.is_past_deadline and is_first_final

    @property
    def has_images(self) -> bool:
        """True if an image of the day is selected."""
        return any(image.day == self.day for image in self.images)


@dataclass(frozen=True)
class Progress:
    """The progress of the rankings of the current run of a plate, whatever time it is."""

    has_final: bool  # the newest ranking of the readout day is final
    unranked: Mapping[int, str]
    """The inputs digest of each day whose images, map or settings no ranking uses yet."""
    missing_wells: int
    """Number of wells with tissue that have no image on the newest imaged day."""


@dataclass(frozen=True)
class _PlateState:
    """The stored images and rankings of a plate, and whether more images are expected now."""

    plate_map: PlateMap
    now: datetime
    seen: Sequence[VisitVersion]
    images: Sequence[VisitVersion]  # the selected images of all days
    all_rankings: Sequence[Ranking]
    is_waiting: bool
    all_is_in: bool
    catching_up_since: datetime | None

    @property
    def rankings(self) -> list[Ranking]:
        """The rankings of the current run."""
        return [each for each in self.all_rankings if each.run == self.plate_map.run]


@dataclass(frozen=True)
class DueDays:
    """Finds the days of a plate that are due, from its stored images and rankings."""

    store: DueStore
    encoder_id: str
    settings: DaySettings
    clock: Callable[[], datetime]
    skipped_since: Callable[[datetime], timedelta] = lambda _moment: timedelta()
    """Returns by how much the clock jumped forward after a moment."""
    _known_since: dict[str, datetime] = field(default_factory=dict)  # by run and plate map digest

    def of_plate(
        self,
        plate_map: PlateMap,
        *,
        is_waiting: bool,
        all_is_in: bool,
        is_source_gone: bool = False,
        catching_up_since: datetime | None = None,
    ) -> list[Due]:
        """Return each Due day of a plate map that has to be ranked now, in order.

        A day is due when it has no ranking and all its images or its deadline are there, when its
        inputs changed and the plate is quiet, or when its ranking becomes final. A readout day
        without any image is due when its deadline has passed.

        Parameters
        ----------
        is_waiting
            Whether images of this plate are queued; then no deadline passes.
        all_is_in
            Whether no more images are expected now.
        is_source_gone
            Whether the images cannot be read now; then no image is missing.
        catching_up_since
            Start of the service, while the calibration of the plate's line needs pending images;
            then the plate gets no first ranking until the deadline.
        """
        state = self._state(
            plate_map,
            is_waiting=is_waiting,
            all_is_in=all_is_in,
            catching_up_since=catching_up_since,
        )
        days = range(plate_map.dosed_on_day + 1, plate_map.readout_day + 1)
        due = [found for day in days if (found := self._due_day(state, day)) is not None]
        readout_day = plate_map.readout_day
        if is_source_gone or _newest(state.rankings, readout_day) is not None:
            return due
        missing = self.missing_days(plate_map, is_waiting=is_waiting, all_is_in=all_is_in)
        if readout_day in missing:
            due.append(self._due(state, readout_day, final=True, is_past_deadline=True))
        return due

    def progress(self, plate_map: PlateMap) -> Progress:
        """Return the Progress of the run of a plate map.

        If the readout has a final ranking and no day is unranked, no day becomes due by the time
        that passes: :meth:`of_plate` returns nothing until an input changes.
        """
        state = self._state(plate_map, is_waiting=False, all_is_in=True, catching_up_since=None)
        imaged = {image.day for image in state.images}
        unranked: dict[int, str] = {}
        for day in range(plate_map.dosed_on_day + 1, plate_map.readout_day + 1):
            if day in imaged:
                digest = self._inputs_digest(plate_map, state.images, day)
                newest = _newest(state.rankings, day)
                if newest is None or self._is_outdated(state, newest, digest):
                    unranked[day] = digest
        readout = _newest(state.rankings, plate_map.readout_day)
        return Progress(
            readout is not None and readout.final, unranked, _missing_wells(plate_map, state.images)
        )

    def _state(
        self,
        plate_map: PlateMap,
        *,
        is_waiting: bool,
        all_is_in: bool,
        catching_up_since: datetime | None,
    ) -> _PlateState:
        """Read the images and rankings of a plate from the store."""
        seen = self.store.imaged(plate_map.plate, self.encoder_id)
        return _PlateState(
            plate_map=plate_map,
            now=self.clock(),
            seen=seen,
            images=select_images(seen, plate_map),
            all_rankings=self.store.rankings(plate_map.plate),
            is_waiting=is_waiting,
            all_is_in=all_is_in,
            catching_up_since=catching_up_since,
        )

    def _due_day(self, state: _PlateState, day: int) -> Due | None:
        """Return a culture day with images as Due, or None if it is not due."""
        plate_map, previous = state.plate_map, _newest(state.rankings, day)
        of_day = {image.key.well: image for image in state.images if image.day == day}
        if not of_day:
            return None
        complete = of_day.keys() >= set(plate_map.wells_with_tissue)
        # An image that was measured again is not new.
        first_at = min(
            image.received_at
            for image in state.seen
            if image.day == day and image.key.well in of_day
        )
        waited = state.now - first_at - self.skipped_since(first_at)
        late = not state.is_waiting and waited >= self.settings.readout_deadline
        is_readout = day == plate_map.readout_day
        final = is_readout and (complete or late)
        digest = self._inputs_digest(plate_map, state.images, day)
        waits = not state.rankings and self._waits_for_calibration(
            first_at, state.catching_up_since
        )
        first = previous is None and (state.all_is_in or ((complete or late) and not waits))
        corrected = (
            previous is not None
            and self._is_quiet(state)
            and self._is_outdated(state, previous, digest)
        )
        becomes_final = previous is not None and final and not previous.final
        if not (first or corrected or becomes_final):
            return None
        return self._due(state, day, final=final, is_past_deadline=is_readout and late)

    def _is_outdated(self, state: _PlateState, ranking: Ranking, inputs_digest: str) -> bool:
        """Return whether the inputs of a ranking changed, given their digest now.

        If a run has a final ranking, images that were only measured again by another method, or
        embedded again with another crop, make no new revision of its rankings.
        """
        if ranking.inputs_digest == digest_with_calibration(inputs_digest, ranking.calibration):
            return False
        if not any(each.final for each in state.rankings):
            return True
        method, crop = ranking.measured_by, crop_of(ranking.encoder_id)
        as_ranked = [replace(each, measured_by=method, crop=crop) for each in state.images]
        digest = self._inputs_digest(state.plate_map, as_ranked, ranking.day)
        return ranking.inputs_digest != digest_with_calibration(digest, ranking.calibration)

    def _due(self, state: _PlateState, day: int, *, final: bool, is_past_deadline: bool) -> Due:
        """Return a culture day as Due; a final day stays final."""
        previous = _newest(state.rankings, day)
        ranked = [each for each in state.rankings if each.quality.gate is not Gate.NO_READOUT]
        return Due(
            plate_map=state.plate_map,
            day=day,
            final=final or (previous is not None and previous.final),
            images=state.images,
            inputs_digest=self._inputs_digest(state.plate_map, state.images, day),
            previous=previous,
            revision=_next_revision(state.all_rankings, day),
            follows=_newest(ranked, day)
            or max(ranked, key=lambda ranking: ranking.created_at, default=None),
            notes=dosing_notes(state.seen, state.plate_map),
            excluded=excluded_wells(state.seen, state.plate_map, day),
            is_past_deadline=is_past_deadline,
        )

    def _is_quiet(self, state: _PlateState) -> bool:
        """Return whether no image of a plate arrived for a while, and none is queued."""
        newest = max(image.received_at for image in state.images)
        is_old = state.now - newest >= self.settings.correction_quiet
        return state.all_is_in or (is_old and not state.is_waiting)

    def missing_days(
        self, plate_map: PlateMap, *, is_waiting: bool, all_is_in: bool = False
    ) -> list[int]:
        """Return the days of a plate map from dosing to readout that have no image by now.

        The deadline of a day is ``readout_deadline`` after its end, by this computer's clock.
        Images that only another encoder has embedded are images. The files of a plate that is
        copied into the drop folder later arrive one after another, so no day is returned while the
        plate is not quiet.

        Parameters
        ----------
        is_waiting
            Whether images of this plate are queued; then no deadline passes.
        all_is_in
            Whether no more images are expected now.
        """
        now = self.clock()
        known_since = self._known_since.setdefault(f"{plate_map.run} {plate_map.digest}", now)
        past = [
            day
            for day in range(plate_map.dosed_on_day, plate_map.readout_day + 1)
            if now >= end_of_day(plate_map, day) + self.settings.readout_deadline
        ]
        if not past or is_waiting:
            return []
        images = self.arrived(plate_map)
        newest = max([known_since, *(image.received_at for image in images)])
        if not all_is_in and now - newest < self.settings.correction_quiet:
            return []
        imaged = {image.day for image in images}
        return [day for day in past if day not in imaged]

    def arrived(self, plate_map: PlateMap) -> list[VisitVersion]:
        """Return every image of a mapped well in the run of a plate map that is not excluded."""
        wells = plate_map.by_well
        return [
            image
            for image in self.store.arrived(plate_map.plate)
            if image.key.well in wells and image.excluded is None and is_in_run(image, plate_map)
        ]

    def _waits_for_calibration(self, first_at: datetime, since: datetime | None) -> bool:
        """Return whether a first ranking waits for a calibration, given the day's first image.

        It waits until the readout deadline. If that had passed when the service started, the
        deadline is counted from the start.
        """
        if since is None:
            return False
        deadline = first_at + self.settings.readout_deadline
        if deadline <= since:
            deadline = since + self.settings.readout_deadline
        return self.clock() < deadline

    def requested(
        self,
        plate_map: PlateMap,
        day: int,
        *,
        final: bool,
        request: MethodRequest | None = None,
    ) -> Due:
        """Return a requested culture day of a plate map as Due, provisional or final.

        The method is chosen again, as a request says. A final day stays final.

        Raises
        ------
        ProfileError
            If no image of this day is stored.
        """
        seen = self.store.imaged(plate_map.plate, self.encoder_id)
        images = select_images(seen, plate_map)
        if not any(image.day == day for image in images):
            days = sorted({image.day for image in images})
            raise ProfileError(
                f"plate {plate_map.plate}, day {day}",
                f"no image of this day is stored; expected one of the days with images: {days}",
            )
        rankings = self.store.rankings(plate_map.plate)
        previous = _newest([each for each in rankings if each.run == plate_map.run], day)
        made_final = (final_note(self.clock()),) if final else ()
        return Due(
            plate_map=plate_map,
            day=day,
            final=final or (previous is not None and previous.final),
            images=images,
            inputs_digest=self._inputs_digest(plate_map, images, day),
            previous=previous,
            revision=_next_revision(rankings, day),
            follows=None,
            notes=(*dosing_notes(seen, plate_map), *made_final),
            excluded=excluded_wells(seen, plate_map, day),
            request=request,
        )

    def _inputs_digest(self, plate_map: PlateMap, images: Sequence[VisitVersion], day: int) -> str:
        """Return SHA-256 of the inputs of a ranking: images, measures, map, models and settings.

        The code version is not part of it: an upgrade makes no ranking stale.
        """
        departure = self.settings.departure
        used = [
            image
            for image in images
            if departure.uses_day(image.day, dosing_day=plate_map.dosed_on_day, day=day)
        ]
        contents = sorted((image.key.well, image.day, image.digest) for image in used)
        until_day = [image for image in images if image.day <= day]
        left_out = sorted(scale_problems(until_day, plate_map))
        models = [
            self.encoder_id,
            self.settings.embedding_weight,
            departure.sequence_model.name if departure.sequence_model else "",
        ]
        inputs = [contents, day, plate_map.digest, *models, self.settings.config_digest]
        if left_out:
            inputs.append(left_out)
        if methods := _methods(until_day):
            inputs.append({"measured_by": methods})
        if crops := _crops(until_day):
            inputs.append({"crops": crops})
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()


def _missing_wells(plate_map: PlateMap, images: Sequence[VisitVersion]) -> int:
    """Return the number of wells with tissue that have no image on the newest day with images."""
    newest = max((image.day for image in images), default=None)
    imaged = {image.key.well for image in images if image.day == newest}
    return len(set(plate_map.wells_with_tissue) - imaged)


def _methods(images: Sequence[VisitVersion]) -> object:
    """Return the method that measured images, or by image if there are several.

    None if it is not recorded, as in the digests of earlier versions.
    """
    methods = {image.measured_by for image in images}
    if len(methods) == 1:
        return methods.pop()
    return sorted((image.key.well, image.day, image.measured_by or "") for image in images)


def _crops(images: Sequence[VisitVersion]) -> object:
    """Return the crop of images, or by image if there are several.

    None if the whole field is embedded, as in the digests of earlier versions.
    """
    crops = {image.crop for image in images}
    if len(crops) == 1:
        return crops.pop()
    return sorted((image.key.well, image.day, image.crop or "") for image in images)


def _newest(rankings: Sequence[Ranking], day: int) -> Ranking | None:
    """Return the newest revision of the rankings of one day, or None."""
    return max(
        (ranking for ranking in rankings if ranking.day == day),
        key=lambda ranking: ranking.revision,
        default=None,
    )


def _next_revision(rankings: Sequence[Ranking], day: int) -> int:
    """Return the revision that follows all rankings of one day, of any run."""
    return 1 + max((ranking.revision for ranking in rankings if ranking.day == day), default=0)
