"""Measure the time and memory to rank one plate when the store has many plates.

    python -m benchmarks.history --plates 1000

Each plate has 60 wells, 10 culture days, measures, and embeddings as long as those of the default
encoder. No image is rendered: simulated observations are inserted directly into the tables. The
newest plate is ranked through the same functions as in the service, except for the image files.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import structlog
from threadpoolctl import threadpool_limits

from daemon.alerts import Alerts
from daemon.config import load_config
from daemon.wiring.rankings import open_days
from daemon.wiring.service_clock import now
from daemon.wiring.store import open_store
from inference.bundle import load_bundle
from schemas.encoder_bundle import BundleCard
from schemas.plate_map import Group, PlateMap, WellEntry
from schemas.quality import Quality
from schemas.well import INNER_60
from store.sql_store import SqlStore
from store.tables import embeddings, observations

SEEDED_AT = datetime(2020, 1, 1, 9, tzinfo=UTC)
DAYS, DOSED_ON_DAY = 10, 7
UNTREATED, REPLICATES = 18, 3
TRAITS = 8
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
    "debris_area_um2",
)
INTACT = {"pieces": 1.0, "open_directions": 0.0, "spilled": 0.0, "spread_um": 0.0}
QUALITY = Quality(
    focus=(1.0, 2.0, 1.0),
    sharpest_plane=1,
    saturated_fraction=0.0,
    tissue_fraction=0.2,
    border_fraction=0.0,
)


def plate_map(number: int) -> PlateMap:
    """Return the map of the simulated plate that is seeded ``number`` days after the first."""
    treatments = [""] * UNTREATED + [
        f"compound-{place // REPLICATES}:1 uM" for place in range(len(INNER_60) - UNTREATED)
    ]
    entries = tuple(
        WellEntry(
            well=well, group=Group.SCREENING if treatment else Group.UNTREATED, treatment=treatment
        )
        for well, treatment in zip(
            np.random.default_rng(number).permutation(INNER_60).tolist(), treatments, strict=True
        )
    )
    return PlateMap(
        plate=f"P{number:05d}",
        seeded_at=SEEDED_AT + timedelta(days=number),
        dosed_on_day=DOSED_ON_DAY,
        readout_day=DAYS,
        entries=entries,
    )


def simulated_rows(
    plate: PlateMap, first_id: int, card: BundleCard, rng: np.random.Generator
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Yield (observation row, embedding row) per well and day of a plate map, from ``first_id``.

    Each well has traits that persist over the days. A treatment shifts the traits after dosing.
    """
    to_embedding = np.random.default_rng(0).standard_normal((TRAITS, card.dimension))
    to_measures = np.random.default_rng(1).standard_normal((TRAITS, len(MEASURES)))
    effect = {
        entry.treatment: rng.uniform(0, 3) * rng.standard_normal(TRAITS)
        if entry.treatment
        else np.zeros(TRAITS)
        for entry in plate.entries
    }
    for place, entry in enumerate(plate.entries):
        traits = rng.standard_normal(TRAITS)
        for day in range(1, DAYS + 1):
            now = (
                traits
                + 0.5 * rng.standard_normal(TRAITS)
                + max(0, day - DOSED_ON_DAY) * effect[entry.treatment]
            )
            number = first_id + place * DAYS + day - 1
            measures = dict(zip(MEASURES, np.exp(0.1 * now @ to_measures).tolist(), strict=True))
            yield (
                _observation_row(plate, entry.well, day, number, measures),
                {
                    "observation_id": number,
                    "encoder_id": card.encoder_id,
                    "vector": (now @ to_embedding).astype(np.float32),
                },
            )


def _observation_row(
    plate: PlateMap, well: str, day: int, number: int, measures: dict[str, float]
) -> dict[str, Any]:
    """Return the database row of an observation with a given id of a simulated well."""
    return {
        "id": number,
        "service": "spherorank",
        "sequence": number,
        "plate": plate.plate,
        "well": well,
        "visit": f"day{day:02d}",
        "run": 1,
        "version": 1,
        "digest": f"{number:064x}",
        "day": day,
        "day_from_time": False,
        "taken_at": None,
        "received_at": plate.seeded_at + timedelta(days=day),
        "complete": True,
        "files": [
            [f"{plate.plate}/day{day:02d}/{well}_z{plane}.tif", 500_000, number]
            for plane in (1, 2, 3)
        ],
        "um_per_px": 1.36,
        "quality": QUALITY.model_dump(mode="json"),
        "measures": measures | INTACT,
    }


def fill_store(store: SqlStore, plates: int, card: BundleCard) -> None:
    """Insert a number of simulated plates, embedded by a BundleCard's encoder, into the store.

    Each plate is one transaction.
    """
    rng = np.random.default_rng(2)
    for number in range(plates):
        plate = plate_map(number)
        store.save_plate_map(plate, plate.seeded_at)
        images, vectors = zip(
            *simulated_rows(plate, 1 + number * len(INNER_60) * DAYS, card, rng), strict=True
        )
        with store._database.writing() as connection:  # noqa: SLF001 - single commits take an hour
            connection.execute(observations.insert(), list(images))
            connection.execute(embeddings.insert(), list(vectors))


def main() -> None:
    """Fill a temporary store, rank the newest plate, and print the time and memory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--plates",
        type=int,
        default=1000,
        help="plates in the store besides the one that is ranked",
    )
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with (
        tempfile.TemporaryDirectory() as folder,
        threadpool_limits(1, user_api="blas"),
    ):  # as in the service
        config_file = Path(folder) / "spherorank.toml"
        config_file.write_text("", encoding="utf-8")
        config, card = load_config(config_file), load_bundle("default").card
        store = open_store(config)
        started = time.perf_counter()
        fill_store(store, arguments.plates + 1, card)
        size = sum(path.stat().st_size for path in Path(folder).iterdir())
        print(
            f"{arguments.plates} plates + 1 of {len(INNER_60)} wells × {DAYS} days, "
            f"{card.dimension} values an image"
        )
        print(
            f"store                {size / 2**30:6.2f} GiB, filled in "
            f"{time.perf_counter() - started:.0f} s, peak memory {peak_gib():.2f} GiB"
        )
        days = open_days(config, store, card, Alerts(store, now))
        newest = plate_map(arguments.plates)
        seconds = []
        for _ in range(arguments.repeats):
            started = time.perf_counter()
            ranking = days.rank_day(days.due_days.requested(newest, DAYS, final=True))
            seconds.append(time.perf_counter() - started)
        assert ranking is not None  # noqa: S101 - the plate is complete
        print(
            f"ranking one plate    {max(seconds):6.2f} s at most of {len(seconds)}, files "
            f"included; {len(ranking.earlier_plates)} earlier plates used"
        )
        print(f"peak memory          {peak_gib():6.2f} GiB, filling included")
        store.close()


def peak_gib() -> float:
    """Return the peak memory of this process in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
