"""Cut and change the files of a SQLite store at many positions, and open it again.

    python -m benchmarks.store_faults --positions 2000 --seed 1

A store with a plate, its images and a ranking is written. Each turn damages a copy of its database
or its write-ahead log: the end is cut or filled with zeros, as by a power cut, or one bit is
changed. Then the store is opened and everything is read. The results are:

intact
    Everything is read as it was written.
earlier
    The store has the complete state after an earlier commit. After a cut of the log, this is the
    last commit before the cut.
refused
    The store cannot be opened or read, and a StoreError says so.
incomplete
    Rows are missing or changed, and ``spherorank store check`` finds the damage.

Any other result is an error: another exception, a wrong value in a ranking or in its inputs, or
missing rows that are not found. The command prints these positions, and its exit code is 1.
"""

import argparse
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import structlog

from schemas.errors import StoreError
from store.database import Database
from store.maintenance.check import find_problems
from store.sql_store import SqlStore
from tests import samples

IMAGES = 12
DIMENSION = 256  # of the embeddings, in values
LOG = "-wal"

State = tuple[frozenset[object], frozenset[object]]
"""Each input and result of rankings as a text, and the number and body of each message."""


class Damage(StrEnum):
    """The kinds of damage to one file."""

    CUT = "cut"
    ZEROS = "zeros"  # from here to the end: the length was on the disk, the content not
    BIT = "bit"


class Result(StrEnum):
    """The results of opening and reading a damaged store; see the module."""

    INTACT = "intact"
    EARLIER = "earlier"
    REFUSED = "refused"
    INCOMPLETE = "incomplete"
    ERROR = "error"


@dataclass(frozen=True)
class Recording:
    """The files of a store that was not closed, and its states after each commit."""

    database: bytes
    log: bytes
    states: Sequence[State]  # after each commit, the empty store first
    log_sizes: Sequence[int]  # of the log in bytes when the sync of each commit had returned


def record(folder: Path, *, is_checkpointed: bool) -> Recording:
    """Write a store with a commit for each image and for the ranking, and return its files.

    Parameters
    ----------
    is_checkpointed
        Whether the commits are in the database file, and not in the write-ahead log.
    """
    file = folder / "recorded.sqlite"
    log = file.with_name(file.name + LOG)
    with closing(SqlStore(f"sqlite:///{file}")) as store:
        store.save_plate_map(samples.plate_map(), samples.NOW)
        store._database.compact()  # noqa: SLF001 - the log then has the later commits only
        states, sizes = [_read(store)], [log.stat().st_size]
        wells = samples.plate_map().entries[:IMAGES]
        for number, entry in enumerate(wells):
            image = samples.observation(
                entry.well,
                seed=number,
                dimension=DIMENSION,
                files=samples.planes_of(entry.well, 7),
            )
            picture = b"\xff\xd8" + bytes(range(256)) * 8
            store.add_observation(image, samples.observation_data(image), picture)
            states.append(_read(store))
            sizes.append(log.stat().st_size)
        store.add_ranking(samples.ranking(), samples.ranking_data(samples.ranking()))
        states.append(_read(store))
        sizes.append(log.stat().st_size)
        if is_checkpointed:
            store._database.compact()  # noqa: SLF001 - no service runs
        return Recording(file.read_bytes(), log.read_bytes(), states, sizes)


def damaged(content: bytes, damage: Damage, position: int, bit: int) -> bytes:
    """Return the content of a file with damage at a position."""
    match damage:
        case Damage.CUT:
            return content[:position]
        case Damage.ZEROS:
            return content[:position] + bytes(len(content) - position)
        case Damage.BIT:
            changed = content[position] ^ (1 << bit)
            return content[:position] + bytes([changed]) + content[position + 1 :]


def result_of(
    recording: Recording, folder: Path, *, in_log: bool, damage: Damage, position: int, bit: int = 0
) -> tuple[Result, str]:
    """Return the result of opening and reading a damaged copy in a folder, with an explanation."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = folder / "store.sqlite"
    database, log = recording.database, recording.log
    if in_log:
        log = damaged(log, damage, position, bit)
    else:
        database = damaged(database, damage, position, bit)
    file.write_bytes(database)
    file.with_name(file.name + LOG).write_bytes(log)
    try:
        with closing(SqlStore(f"sqlite:///{file}")) as store:
            state = _read(store)
    except StoreError as error:
        return (Result.REFUSED if file.name in str(error) else Result.ERROR), str(error)
    except Exception as error:  # noqa: BLE001 - the fault under test
        return Result.ERROR, f"{type(error).__name__}: {error}"
    return _judge(recording, state, file, position if in_log and damage is not Damage.BIT else None)


def _judge(recording: Recording, state: State, file: Path, cut: int | None) -> tuple[Result, str]:
    """Return the result for a state that was read without an error, after a cut of the log."""
    full = recording.states[-1]
    if cut is not None:
        synced = sum(size <= cut for size in recording.log_sizes) - 1
        if state not in recording.states[max(synced, 0) :]:
            return Result.ERROR, f"not the state after commit {synced} or a later one"
    if state == full:
        return Result.INTACT, ""
    if state in recording.states:
        return Result.EARLIER, f"commit {recording.states.index(state)}"
    if wrong := state[0] - full[0]:
        return Result.ERROR, f"a wrong value: {min(map(str, wrong))[:300]}"
    with closing(Database(f"sqlite:///{file}", timeout_s=5.0)) as database:
        problems = list(find_problems(database))
    if not problems:
        missing = [*full[0] - state[0], *(full[1] ^ state[1])]
        return Result.ERROR, f"not found by the check: {str(missing)[:300]}"
    return Result.INCOMPLETE, problems[0]


def _read(store: SqlStore) -> State:
    """Return everything that rankings are made from, the rankings and the messages of a store."""
    plate = samples.PLATE
    observed = store.observations(store.imaged(plate, samples.ENCODER_ID), samples.ENCODER_ID)
    inputs: list[object] = [str((each, each.embedding.tobytes())) for each in observed]
    inputs += [each.model_dump_json() for each in store.run_maps(plate)]
    inputs += [each.model_dump_json() for each in store.rankings(plate)]
    messages = [(each.sequence, each.topic, each.body) for each in store.messages_after(0)]
    return frozenset(inputs), frozenset(messages)


def turns(
    recordings: Sequence[Recording], positions: int, rng: random.Random
) -> Iterator[tuple[Recording, bool, Damage, int, int]]:
    """Return at random a recording, whether its log is damaged, the damage, position and bit."""
    for _ in range(positions):
        recording = rng.choice(recordings)
        in_log = bool(recording.log) and rng.random() < 0.5  # noqa: PLR2004 - half of the turns
        size = len(recording.log if in_log else recording.database)
        yield recording, in_log, rng.choice(list(Damage)), rng.randrange(size), rng.randrange(8)


def main() -> None:
    """Print the number of each result for each kind of damage, and every error."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--positions", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    results: Counter[tuple[str, str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recordings = []
        for is_checkpointed in (False, True):
            (folder / str(is_checkpointed)).mkdir()
            recordings.append(
                record(folder / str(is_checkpointed), is_checkpointed=is_checkpointed)
            )
        rng = random.Random(arguments.seed)  # noqa: S311 - a benchmark
        for recording, in_log, damage, position, bit in turns(recordings, arguments.positions, rng):
            result, text = result_of(
                recording, folder / "copy", in_log=in_log, damage=damage, position=position, bit=bit
            )
            place = "log" if in_log else "database"
            results[place, damage, result] += 1
            if result is Result.ERROR:
                print(f"{place} {damage} {position} bit {bit}: {text}")
    for names, number in sorted(results.items()):
        print("".join(f"{name:<12}" for name in names) + f"{number:>7}")
    sys.exit(any(Result.ERROR in names for names in results))


if __name__ == "__main__":
    main()
