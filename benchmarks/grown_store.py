"""A store that has grown for years: many closed plates, written in bulk, with their ranking files.

One plate is stored and ranked by the service's own parts. All other plates are copies of its rows
under another name, with the checksums and the digests of their inputs. The copies have no pictures,
and their messages have no content. Every plate is stored as closed.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import Connection, Table, func, select, update

from daemon.alerts import Alerts
from daemon.config import Config
from daemon.daily import DailyPath
from daemon.plate_states import basis_of
from daemon.wiring.rankings import open_days
from daemon.wiring.service_clock import now
from daemon.wiring.store import open_store
from inference.bundle import load_bundle
from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.encoder_bundle import BundleCard
from schemas.observation import Observation, Outcome
from schemas.plate_map import PlateMap
from schemas.plate_state import PlateState, StoredPlateState
from schemas.ranking import Ranking
from store.checksums import with_checksum
from store.sql_store import SqlStore
from store.tables import (
    counters,
    embeddings,
    file_versions,
    final_messages,
    messages,
    observations,
    plate_changes,
    plate_maps,
    rankings,
)
from tests.samples import NOW, observation, observation_data, plate_map

DAYS = range(1, 11)
TEMPLATE = "GROWN-00000"
PLATES_AT_ONCE = 20
FIRST_NUMBER = 10_000  # of the copied observations and messages; the first plate has fewer

Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Template:
    """The rows of one plate, its rankings, and the files of its rankings by name."""

    plate_map: PlateMap
    rows: Mapping[str, Rows]  # by table
    rankings: Sequence[Ranking]
    files: Mapping[str, str]


def grow(config: Config, plates: int) -> None:
    """Fill the empty store of a configuration with plates of 60 wells and 10 days."""
    card = load_bundle(config.encoder.bundle).card
    with closing(open_store(config)) as store:
        days = open_days(config, store, card, Alerts(store, now))
        template = _template(store, days, card, config.output.rankings)
        names = [f"GROWN-{number:05d}" for number in range(1, plates)]
        numbers = count(FIRST_NUMBER)
        for start in range(0, len(names), PLATES_AT_ONCE):
            portion = names[start : start + PLATES_AT_ONCE]
            with store._database.writing() as connection:  # noqa: SLF001 - no port writes in bulk
                for name in portion:
                    _copy_inputs(connection, template, name, numbers)
            made = [_rankings_of(name, template, days) for name in portion]
            with store._database.writing() as connection:  # noqa: SLF001 - as above
                for of_plate in made:
                    _add_rankings(connection, template, of_plate)
            for of_plate in made:
                _write_files(of_plate, template, config.output.rankings)
        with store._database.writing() as connection:  # noqa: SLF001 - as above
            last = connection.scalar(select(func.max(messages.c.sequence)))
            connection.execute(update(counters).values(last=last, published_through=last))
    close_plates(config)


def close_plates(config: Config) -> None:
    """Store that each live plate is closed, as this version finds when it has examined it."""
    card = load_bundle(config.encoder.bundle).card
    with closing(open_store(config)) as store:
        days = open_days(config, store, card, Alerts(store, now))
        basis = basis_of(days.settings, card.encoder_id)
        for plate, changes in store.live_plates(basis).items():
            state = StoredPlateState(PlateState.CLOSED, 1, changes, basis, NOW)
            store.save_plate_state(plate, state)


def _template(store: SqlStore, days: DailyPath, card: BundleCard, folder: Path) -> Template:
    """Store and rank the first plate, and return it."""
    made = _map_of(TEMPLATE)
    store.save_plate_map(made, NOW)
    rng = np.random.default_rng(1)
    for day in DAYS:
        for well in made.by_well:
            seen = _observation(made, well, day, card, rng)
            store.add_observation(seen, observation_data(seen))
    while days.run_due(TEMPLATE, is_waiting=False, all_is_in=True):
        pass
    tables = (plate_maps, observations, embeddings, file_versions, messages, rankings)
    with store._database.reading() as connection:  # noqa: SLF001 - no port reads whole rows
        rows = {table.name: _rows(connection, table) for table in tables}
    files = {path.name: path.read_text() for path in (folder / TEMPLATE).iterdir()}
    return Template(made, rows, store.rankings(TEMPLATE), files)


def _map_of(plate: str) -> PlateMap:
    return plate_map(plate, seeded_at=NOW - timedelta(days=400))


def _observation(
    of_plate: PlateMap, well: str, day: int, card: BundleCard, rng: np.random.Generator
) -> Observation:
    """Return an observation with random features, received on its culture day."""
    at = of_plate.seeded_at + timedelta(days=day - 1, hours=6)
    measures = dict(zip(RANKED_MEASURES, rng.uniform(0.2, 0.8, len(RANKED_MEASURES)), strict=True))
    return observation(
        well,
        day,
        plate=of_plate.plate,
        encoder_id=card.encoder_id,
        dimension=card.dimension,
        seed=int(rng.integers(2**31)),
        taken_at=at,
        received_at=at,
        measures={name: float(value) for name, value in measures.items()},
    )


def _rows(connection: Connection, table: Table) -> Rows:
    return [dict(row) for row in connection.execute(select(table)).mappings()]


def _copy_inputs(
    connection: Connection, template: Template, name: str, numbers: Iterator[int]
) -> None:
    """Add the plate map, observations, embeddings, file versions and messages of a plate."""
    renamed = _map_of(name)
    [kept] = template.rows["plate_map"]
    row = kept | {
        "id": None,
        "plate": name,
        "digest": renamed.digest,
        "content": renamed.model_dump(mode="json"),
    }
    _insert(connection, plate_maps, [row])
    _insert(connection, plate_changes, [{"plate": name, "changes": len(DAYS) * 60}])
    new_ids: dict[int, int] = {}
    of_observations, of_messages = [], []
    message = template.rows["message"][0]
    for each in template.rows["observation"]:
        number = new_ids[each["id"]] = next(numbers)
        files = [[_renamed(path, name), *stamp] for path, *stamp in each["files"]]
        changed = {"id": number, "sequence": number, "plate": name, "files": files}
        of_observations.append(each | changed)
        topic = _renamed(message["topic"], name)
        of_messages.append(message | {"sequence": number, "topic": topic, "body": "{}"})
    _insert(connection, observations, of_observations)
    _insert(
        connection,
        embeddings,
        [
            each | {"observation_id": new_ids[each["observation_id"]]}
            for each in template.rows["embedding"]
        ],
    )
    _insert(
        connection,
        file_versions,
        [
            each | {"path": _renamed(each["path"], name), "plate": name, "outcome": Outcome.STORED}
            for each in template.rows["file_version"]
        ],
    )
    _insert(connection, messages, of_messages)


def _insert(connection: Connection, table: Table, rows: Rows) -> None:
    """Insert rows with their checksums, where the table has any."""
    if "checksum" in table.c:
        rows = [with_checksum(table, {**row, "checksum": None}) for row in rows]
    if "id" in table.c and rows[0].get("id") is None:
        rows = [{name: value for name, value in row.items() if name != "id"} for row in rows]
    connection.execute(table.insert(), rows)


def _renamed(text: str, name: str) -> str:
    return text.replace(TEMPLATE, name).replace("PDAC-0042", name)


def _rankings_of(name: str, template: Template, days: DailyPath) -> list[Ranking]:
    """Return the rankings of a copied plate, with the digests of its inputs."""
    digests = days.due_days.progress(_map_of(name)).unranked
    return [
        ranking.model_copy(update={"plate": name, "inputs_digest": digests[ranking.day]})
        for ranking in template.rankings
    ]


def _add_rankings(connection: Connection, template: Template, made: Sequence[Ranking]) -> None:
    rows = []
    for row, ranking in zip(template.rows["ranking"], made, strict=True):
        content = ranking.model_dump(mode="json", include=set(Ranking.model_fields))
        rows.append(row | {"plate": ranking.plate, "content": content})
        if ranking.final:
            of_final = {"day": ranking.day, "revision": ranking.revision}
            sequence = 1 + (connection.scalar(select(func.max(final_messages.c.sequence))) or 0)
            values = {"sequence": sequence, "plate": ranking.plate, "created_at": NOW} | of_final
            connection.execute(final_messages.insert().values(service="spherorank", **values))
    _insert(connection, rankings, rows)


def _write_files(made: Sequence[Ranking], template: Template, folder: Path) -> None:
    """Write the ranking files of a copied plate."""
    home = folder / made[0].plate
    home.mkdir(parents=True)
    digests = {
        old.inputs_digest: new.inputs_digest
        for old, new in zip(template.rankings, made, strict=True)
    }
    for name, text in template.files.items():
        changed = text.replace(TEMPLATE, home.name)
        for old, new in digests.items():
            changed = changed.replace(old, new)
        (home / name).write_text(changed)
