"""Departures of a well on each day since dosing, published with each of its images."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

from inference.departure.assembly import assemble, select_images
from inference.departure.departure_settings import DepartureSettings
from inference.departure.departures import departures_on_day
from schemas.messages import DayDeparture
from schemas.observation import Observation, VisitVersion
from schemas.plate_map import PlateMap
from schemas.plate_run import is_in_run
from schemas.trajectory import Representation
from store.ports import ObservationReader

PLATES_KEPT = 4  # in memory; a plate of 60 wells and 10 days takes about 3 MB


_Id = tuple[int, str | None, str | None]
"""Observation id, method of the measures and crop of the embedding; the last two may change."""


@dataclass
class _Plate:
    """A cache of the observations and departures of one plate."""

    observations: dict[_Id, Observation] = field(default_factory=dict)
    departures: dict[int, tuple[object, dict[str, float]]] = field(
        default_factory=dict
    )  # by day: the inputs, and the departures by well


class RollingView:
    """Computes the departures of wells on every day since dosing, while their images are processed.

    The method is that of the ranking, but without earlier plates, to save time.
    """

    def __init__(
        self,
        store: ObservationReader,
        representation: Representation,
        embedding_weight: float,
        settings: DepartureSettings,
    ) -> None:
        self._store = store
        self._representation = representation
        self._embedding_weight = embedding_weight
        self._settings = settings
        self._plates: OrderedDict[str, _Plate] = OrderedDict()

    def departures(
        self, newest: Sequence[Observation], plate_map: PlateMap | None
    ) -> list[tuple[DayDeparture, ...]]:
        """Return the DayDepartures of the wells of new observations on each day since dosing.

        They are empty before dosing, for an image outside the run of the plate map, and for a
        well that the plate map does not name.

        Parameters
        ----------
        newest
            Observations of different wells of one plate on one day, which are not stored yet.
        """
        ranked = [each for each in newest if plate_map and _is_ranked(each, plate_map)]
        if plate_map is None or not ranked:
            return [()] * len(newest)
        stored = self._store.imaged(plate_map.plate, ranked[0].encoder_id)
        replaced = {(each.key.well, each.day) for each in ranked}
        others = [
            image
            for image in select_images(stored, plate_map)
            if (image.key.well, image.day) not in replaced
        ]
        wells = {each.key.well for each in ranked}
        return [
            self._of_well(each, others, ranked, plate_map) if each.key.well in wells else ()
            for each in newest
        ]

    def _of_well(
        self,
        newest: Observation,
        others: list[VisitVersion],
        ranked: list[Observation],
        plate_map: PlateMap,
    ) -> tuple[DayDeparture, ...]:
        """Return the departure of the well of a new observation on each day since dosing."""
        well = newest.key.well
        days = {
            image.day
            for image in others
            if image.key.well == well and image.day > plate_map.dosed_on_day
        } | {newest.day}
        return tuple(
            DayDeparture(
                day=day, departure=self._departures_on(day, others, ranked, plate_map).get(well)
            )
            for day in sorted(days)
        )

    def _departures_on(
        self,
        day: int,
        others: list[VisitVersion],
        newest: list[Observation],
        plate_map: PlateMap,
    ) -> dict[str, float]:
        """Return the departures of one day by well; they are computed again only for new inputs."""
        plate = self._plate(plate_map.plate)
        used = [image for image in others if self._is_used(day, image.day, plate_map)]
        new = [each for each in newest if self._is_used(day, each.day, plate_map)]
        uses_day = (
            plate_map.digest,
            tuple(each.digest for each in new),
            tuple(map(_id_of, used)),
        )
        if day not in plate.departures or plate.departures[day][0] != uses_day:
            observations = [*self._read(plate, used, newest[0].encoder_id), *new]
            assembled = assemble(observations, plate_map, through_day=day)
            plate.departures[day] = (
                uses_day,
                departures_on_day(
                    assembled.trajectories(self._representation, self._embedding_weight),
                    dosing_day=plate_map.dosed_on_day,
                    day=day,
                    settings=self._settings,
                ),
            )
        return plate.departures[day][1]

    def _is_used(self, day: int, imaged_day: int, plate_map: PlateMap) -> bool:
        return self._settings.uses_day(imaged_day, dosing_day=plate_map.dosed_on_day, day=day)

    def _read(
        self, plate: _Plate, images: list[VisitVersion], encoder_id: str
    ) -> list[Observation]:
        new = [image for image in images if _id_of(image) not in plate.observations]
        plate.observations |= {
            _id_of(image): read
            for image, read in zip(new, self._store.observations(new, encoder_id), strict=True)
        }
        return [plate.observations[_id_of(image)] for image in images]

    def _plate(self, name: str) -> _Plate:
        plate = self._plates.setdefault(name, _Plate())
        self._plates.move_to_end(name)
        while len(self._plates) > PLATES_KEPT:
            self._plates.popitem(last=False)
        return plate


def _is_ranked(newest: Observation, plate_map: PlateMap) -> bool:
    """Return whether an observation is of the run of a plate map, of tissue, and after dosing."""
    return (
        newest.key.well in plate_map.wells_with_tissue
        and newest.day > plate_map.dosed_on_day
        and is_in_run(newest, plate_map)
    )


def _id_of(image: VisitVersion) -> _Id:
    return image.observation_id, image.measured_by, image.crop
