"""Feed mutated plate maps, assays, configurations and requests to the code that reads them.

:mod:`benchmarks.fuzz` calls this module with its options ``--maps`` and ``--requests``.
"""

import random
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from acquisition.drop_folder.assay_files import wrong_assays
from acquisition.drop_folder.plate_map_files import read_plate_maps
from daemon.config import load_config
from daemon.messaging.replies import Replies
from daemon.messaging.status_snapshot import StatusSnapshot
from schemas.errors import ConfigError
from schemas.messages import StatusData
from schemas.plate_map import PlateMap
from schemas.requests import StatusDetails
from store.sql_store import SqlStore

HANG_S = 10.0
UNFORESEEN = "cannot answer this request"  # see daemon/messaging/requests.py

TOML = (
    'plate = "P1"\nseeded_at = 2026-11-10T09:00:00+01:00\nreadout_day = 10\num_per_px = 1.36\n'
    'wells = ["B02", "B03", "C04"]\n'
)
WELLS = (
    "well,group,treatment\nB02,untreated,\nB03,screening,gemcitabine:0.5 uM + paclitaxel:10 nM\n"
    "C04,single_dose,gemcitabine:1 uM\n"
)
GRID = ",1,2,3\nA,,,\nB,,untreated,gemcitabine:1 uM\nC,,blank,DMSO:0.1 %\n"
ASSAY = "well,viability_percent\nB02,100\nB03,42.5\n"
CONFIG = (
    '[source]\npattern = "{plate}/day{day}/{well}_z{plane}.tif"\nplanes = 3\nsettle_s = 2.0\n'
    '[ranking]\nmethod = "auto"\n[publisher]\nevents = "tcp://127.0.0.1:5556"\n'
)
REQUESTS = (
    '{"kind":"replay","after":3,"topic":"spherorank.v1.ranking."}',
    '{"kind":"latest","plate":"P1"}',
    '{"kind":"status"}',
)
TOKENS = (
    b"\0", b"\r", b"\r\n", b"\n", b'"', b"'", b";", b"\t", b",", b",,", b"=", b"{", b"}",
    b"[", b"]",
    b"\xff\xfe", b"\xef\xbb\xbf", b"\xb5", b"\xc3\xa9", b"e\xcc\x81", b"9" * 40, b"-1", b"1e400",
    b"nan", b"null", b"true", b"2026-13-45", b"B2", b"Z99", b"0,5 uM", b"x" * 140_000,
    b"\xed\xa0\x80",
    b"\\ud800", b"[" * 3000, b'"group"', b"well", b"../..",
)  # fmt: skip


@dataclass
class TextResults:
    """The number of each result of mutated texts, the exceptions, and the longest reading."""

    results: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)
    longest_s: float = 0.0


def mutate_text(content: bytes, rng: random.Random) -> bytes:
    """Return a text with one to four random changes, in one of several encodings."""
    data = bytearray(content)
    for _ in range(rng.randint(0, 4)):
        place = rng.randrange(len(data) + 1)
        end = min(place + rng.choice((0, 0, 1, 3, 20)), len(data))
        data[place:end] = rng.choice((rng.choice(TOKENS), rng.randbytes(rng.randint(1, 6)), b""))
    text = bytes(data)
    encoding = rng.choice(("", "", "", "utf-16", "utf-16-be", "cp1252"))
    if encoding:
        text = text.decode("utf-8", "replace").encode(encoding, "replace")
    return text


def fuzz_maps(seed: int, count: int) -> TextResults:
    """Read mutated plate maps, assays and configurations of a seed, and return the results."""
    rng = random.Random(seed)  # noqa: S311 - reproducible damage
    found = TextResults()
    with tempfile.TemporaryDirectory() as folder:
        root, file = Path(folder) / "drop", Path(folder) / "spherorank.toml"
        (root / "P1").mkdir(parents=True)
        for number in range(count):
            _write(root / "P1" / "P1.plate.toml", TOML, rng)
            _write(root / "P1" / "P1.wells.csv", rng.choice((WELLS, GRID)), rng)
            _write(root / "P1" / "P1.assay.csv", ASSAY, rng)
            _write(file, CONFIG, rng)
            _run(lambda: _result_of_map(root), f"map {seed} {number}", found)
            _run(lambda: f"{len(wrong_assays(root))} wrong assays", f"assay {seed} {number}", found)
            _run(lambda: _result_of_config(file), f"configuration {seed} {number}", found)
    return found


def fuzz_requests(seed: int, count: int) -> TextResults:
    """Answer mutated requests of a seed from an empty store, and return the results."""
    rng = random.Random(seed)  # noqa: S311 - reproducible damage
    found = TextResults()
    status = StatusData(
        state="online",
        version="0",
        encoder_id="e",
        started_at=datetime(2026, 11, 10, tzinfo=UTC),
        last_image_at=None,
        backlog=0,
        rejected=0,
        plates=(),
        held={},
        source_gone=None,
    )
    with tempfile.TemporaryDirectory() as folder:
        store = SqlStore(f"sqlite:///{folder}/store.sqlite")
        for number in range(count):
            request = mutate_text(rng.choice(REQUESTS).encode(), rng)
            _run(
                partial(_result_of_request, request, store, status),
                f"request {seed} {number}",
                found,
            )
        store.close()
    return found


def _write(path: Path, text: str, rng: random.Random) -> None:
    path.write_bytes(mutate_text(text.encode(), rng))


def _run(read: Callable[[], str], name: str, found: TextResults) -> None:
    """Count the result of one reading, or its exception."""
    started_s = time.perf_counter()
    try:
        found.results[read()] += 1
    except Exception as error:  # noqa: BLE001 - the subject of this benchmark
        found.unexpected.append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
    found.longest_s = max(found.longest_s, time.perf_counter() - started_s)


def _result_of_map(root: Path) -> str:
    maps = read_plate_maps(root).values()
    return "valid map" if all(isinstance(each, PlateMap) for each in maps) else "invalid map"


def _result_of_config(file: Path) -> str:
    try:
        load_config(file)
    except ConfigError:
        return "invalid configuration"
    return "valid configuration"


def _result_of_request(request: bytes, store: SqlStore, status: StatusData) -> str:
    snapshot = StatusSnapshot(status=status, details=StatusDetails(), loop_age_s=0.0)
    reply = Replies(store, (), lambda: datetime.now(UTC)).reply_to(request, None, snapshot)
    if UNFORESEEN in reply:
        raise RuntimeError(reply)
    return "error reply" if '"kind":"error"' in reply else "reply"


def lines_of(name: str, found: TextResults) -> Iterator[str]:
    """Yield the printed lines of the results of one kind of text."""
    counts = ", ".join(f"{count} {result}" for result, count in sorted(found.results.items()))
    yield f"{name}: {counts}"
    yield f"  unexpected exceptions: {len(found.unexpected)} {found.unexpected[:5]}"
    yield f"  longest: {found.longest_s:.2f} s"
