"""Departures of a well on each day since dosing, published with each of its images."""

from collections import OrderedDict
from dataclasses import dataclass, field

from inference.departure.assembly import assemble, select_images
from inference.departure.departures import DepartureSettings, departures_on_day
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
    """Computes the departures of a well on every day since dosing, while its image is processed.

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
        self, newest: Observation, plate_map: PlateMap | None
    ) -> tuple[DayDeparture, ...]:
        """Return the DayDeparture of a new observation's well on each day since dosing.

        The result is empty before dosing, for an image outside the run of the plate map, and for a
        well that the plate map does not name.
        """
        well = newest.key.well
        if (
            plate_map is None
            or well not in plate_map.wells_with_tissue
            or newest.day <= plate_map.dosed_on_day
            or not is_in_run(newest, plate_map)
        ):
            return ()
        images = select_images(self._store.imaged(plate_map.plate, newest.encoder_id), plate_map)
        others = [image for image in images if (image.key.well, image.day) != (well, newest.day)]
        days = {
            image.day
            for image in others
            if image.key.well == well and image.day > plate_map.dosed_on_day
        } | {newest.day}
        return tuple(
            DayDeparture(
                day=day, departure=self._departures_on(day, others, newest, plate_map).get(well)
            )
            for day in sorted(days)
        )

    def _departures_on(
        self, day: int, others: list[VisitVersion], newest: Observation, plate_map: PlateMap
    ) -> dict[str, float]:
        """Return the departures of one day by well; they are computed again only for new inputs."""
        plate = self._plate(plate_map.plate)
        used = [image for image in others if self._is_used(day, image.day, plate_map)]
        is_used = self._is_used(day, newest.day, plate_map)
        uses_day = (
            plate_map.digest,
            newest.digest if is_used else None,
            tuple(map(_id_of, used)),
        )
        if day not in plate.departures or plate.departures[day][0] != uses_day:
            observations = self._read(plate, used, newest.encoder_id) + (
                [newest] if is_used else []
            )
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


def _id_of(image: VisitVersion) -> _Id:
    return image.observation_id, image.measured_by, image.crop
