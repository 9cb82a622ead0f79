"""A site with a real store and real rankings, whose observations are random numbers, not images."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np

from daemon.alerts import Alerts
from daemon.calibrations import Calibrations
from daemon.daily import DailyPath, MeasureAgain, measure_nothing
from daemon.due_days import DaySettings, DueDays
from inference.departure.departure_settings import DepartureSettings
from inference.tissue.condition import ConditionSettings
from schemas.calibration import MethodChoice, MethodRequest
from schemas.messages import AlertKind
from schemas.observation import NewMeasures, Observation, VisitVersion
from schemas.plate_map import Group, PlateMap, WellEntry
from schemas.ranking import Ranking
from schemas.scale import FileScale
from schemas.well import INNER_60
from schemas.well_image import VisitKey
from store.sql_store import SqlStore
from tests.samples import (
    ENCODER_ID,
    MEASURED_BY,
    NOW,
    SEEDED_AT,
    observation,
    observation_data,
    planes_of,
    plate_map,
    quality,
)

UNTREATED = 8
MEASURES = (
    "area_um2",
    "circularity",
    "solidity",
    "roughness",
    "od_mean",
    "od_spread",
    "grain_fine",
    "grain_coarse",
    "core_darkness",
    "edge_darkness",
)
INTACT = {
    "pieces": 1.0,
    "debris_area_um2": 0.0,
    "open_directions": 0.0,
    "spilled": 0.0,
    "spread_um": 0.0,
}


def small(
    plate: str, seeded_day: int = 0, *, one_block: bool = False, **changes: object
) -> PlateMap:
    """Return the map of a plate with 8 untreated wells and 4 treatments of 3 wells.

    Parameters
    ----------
    plate
        Name of the plate.
    seeded_day
        Day on which the plate is seeded, counted from the first plate.
    one_block
        Whether wells of one treatment are neighbours; otherwise they are at random places.
    changes
        Other fields of the plate map.
    """
    treatments = [""] * UNTREATED + [f"drug{number}:1 uM" for number in range(4) for _ in range(3)]
    wells = (
        INNER_60[: len(treatments)]
        if one_block
        else np.random.default_rng(5).permutation(INNER_60)[: len(treatments)].tolist()
    )
    entries = tuple(
        WellEntry(
            well=well, group=Group.SCREENING if treatment else Group.UNTREATED, treatment=treatment
        )
        for well, treatment in zip(wells, treatments, strict=True)
    )
    return plate_map(
        plate, entries=entries, seeded_at=SEEDED_AT + timedelta(days=seeded_day), **changes
    )


SETTINGS = DaySettings(
    readout_deadline=timedelta(minutes=30),
    correction_quiet=timedelta(minutes=1),
    representation="measures",
    condition=ConditionSettings(),
    embedding_weight=1.0,
    field_um=None,
    departure=DepartureSettings(),
    seed=1,
    config_digest="c" * 64,
    code_version="0.1.0",
)


class Site:
    """A store and the daily rankings on it; the test adds the observations.

    The clock stands still, except that :meth:`rank` advances it by one hour.
    """

    def __init__(self, store: SqlStore) -> None:
        self.store = store
        self.now = NOW
        self.settings = SETTINGS
        self.method: MethodChoice = "auto"
        self.measured_by: str | None = MEASURED_BY  # method of the measures of new images
        self.crop: str | None = None  # embedded part of new images
        self.measure_again: MeasureAgain = measure_nothing
        self.tick: Callable[[], object] = lambda: None
        # True kill by plate and well. The tissue of a killed well is smaller and darker.
        # On a plate that is not named here, measures are random.
        self.kills: dict[str, dict[str, float]] = {}
        self.restart()

    def restart(self, settings: DepartureSettings | None = None) -> None:
        """Build the ranking from the settings again, as a start of the service does."""
        self.settings = (
            self.settings if settings is None else replace(self.settings, departure=settings)
        )
        of_settings = {"representation": self.settings.representation, "seed": self.settings.seed}
        calibrations = Calibrations(
            self.store,
            ENCODER_ID,
            method=self.method,
            clock=self.clock,
            tick=self._run_tick,
            **of_settings,
        )  # type: ignore[arg-type] # mypy mixes the values
        alerts = Alerts(self.store, self.clock)
        self.days = DailyPath(
            store=self.store,
            due_days=DueDays(self.store, ENCODER_ID, self.settings, self.clock),
            encoder_id=ENCODER_ID,
            settings=self.settings,
            calibrations=calibrations,
            write=lambda _ranking, _pictures: (),
            alerts=alerts,
            clock=self.clock,
            measure_again=self._measure_again,
        )

    def _measure_again(self, plate: str, images: Sequence[VisitVersion]) -> bool:
        return self.measure_again(plate, images)

    def _run_tick(self) -> None:
        self.tick()

    def clock(self) -> datetime:
        return self.now

    def add(
        self,
        plate: PlateMap,
        days: tuple[int, ...] = (6, 7, 10),
        *,
        measured: bool = True,
        wells: int | None = None,
        seed: int = 0,
    ) -> PlateMap:
        """Store a plate map and an observation of each well on some culture days.

        Parameters
        ----------
        plate
            The plate map.
        days
            The culture days.
        measured
            Whether the observations have measures of the tissue.
        wells
            Number of wells, from the first of the plate map; None for all.
        seed
            Another seed gives other images of the same visits.
        """
        self.store.save_plate_map(plate, self.now)
        for day in days:
            for entry in plate.entries[:wells]:
                self.image(plate, entry.well, day, measured=measured, seed=seed)
        return plate

    def image(
        self, plate: PlateMap, well: str, day: int, *, measured: bool = True, seed: int = 0
    ) -> None:
        """Store one observation of a well on a culture day."""
        seen = self.look(plate, well, day, measured=measured, seed=seed)
        self.store.add_observation(seen, observation_data(seen, self.store.next_version(seen.key)))

    def look(
        self, plate: PlateMap, well: str, day: int, *, measured: bool = True, seed: int = 0
    ) -> Observation:
        """Return one observation with random embedding and measures."""
        rng = np.random.default_rng(
            [sum(plate.plate.encode()), sum(well.encode()), INNER_60.index(well), day, seed]
        )
        if plate.plate in self.kills:
            values = 0.5 * np.exp(rng.normal(0, 0.04, len(MEASURES)))
            values[0] *= 1 - 0.8 * self._killed(plate, well, day)
            values[4] *= 1 + self._killed(plate, well, day)
        else:
            values = rng.uniform(0.2, 0.8, len(MEASURES))
        measures = (
            dict(zip(MEASURES, values.tolist(), strict=True))
            | {"area_um2": 1e5 * values[0]}
            | INTACT
            if measured
            else {}
        )
        if plate.um_per_px is None:
            measures = {
                name.replace("_um2", "_px").replace("_um", "_px"): value
                for name, value in measures.items()
            }
        return observation(
            well,
            day,
            key=VisitKey(plate.plate, well, f"day{day:02d}", plate.run),
            files=planes_of(well, day, plate.plate),
            digest=f"{rng.integers(2**62):064x}",
            embedding=rng.standard_normal(6).astype(np.float32),
            measures=measures,
            measured_by=self.measured_by,
            crop=self.crop,
            um_per_px=plate.um_per_px,
            file_scales=() if plate.um_per_px is None else (FileScale(plate.um_per_px, "OME-XML"),),
            taken_at=plate.seeded_at + timedelta(days=day - 1),
            received_at=self.now,
        )

    def replace_measures(
        self, plate: PlateMap, measured_by: str, *, days: tuple[int, ...] = (6, 7, 10)
    ) -> bool:
        """Replace the measures of a plate's images of some days by other ones of a method."""
        results = [
            NewMeasures(
                image.observation_id,
                quality(),
                self.look(plate, image.key.well, image.day, seed=100).measures,
                (),
                b"",
            )
            for image in self.store.images_to_measure(plate.plate, measured_by)
            if image.day in days
        ]
        self.store.replace_measures(results, measured_by)
        return bool(results)

    def _killed(self, plate: PlateMap, well: str, day: int) -> float:
        return self.kills[plate.plate][well] if day > plate.dosed_on_day else 0.0

    def rank(self, plate: PlateMap) -> list[Ranking]:
        """Advance the clock by one hour, and return the rankings of a plate that were due."""
        self.now += timedelta(hours=1)
        return self.days.run_due(plate.plate, is_waiting=False)

    def last(self, plate: PlateMap, day: int = 10) -> Ranking:
        """Return the newest ranking of a plate on a culture day."""
        return [each for each in self.store.rankings(plate.plate) if each.day == day][-1]

    def again(self, plate: PlateMap, request: MethodRequest | None = None) -> Ranking | None:
        """Rank day 10 of a plate as ``spherorank rank plate`` does; None if nothing is new."""
        due = self.days.due_days.requested(plate, 10, final=False, request=request)
        return None if self.days.is_current(due) else self.days.rank_day(due)

    def alerts(self, kind: AlertKind) -> list[str]:
        """Return the messages of the alerts of one kind."""
        bodies = [message.body for message in self.store.messages_after(0, "spherorank.v1.alert")]
        return [body for body in bodies if f'"kind":"{kind}"' in body.replace(" ", "")]
