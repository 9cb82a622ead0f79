"""Evaluate encoders on simulated laboratories: one renderer and one mechanism are left out.

Every laboratory is tested once (:mod:`training.evaluation.laboratory_protocol`). A reading is the
measures alone, or the embedding of an encoder alone or with the measures.
"""

import csv
import importlib.metadata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import structlog
from scipy import stats

from inference.bundle import Bundle
from schemas.arrays import Float64Array
from schemas.errors import ConfigError
from simulation.kinds import HiddenMechanism, Mechanism, RendererName
from simulation.laboratories.laboratory import Laboratory, draw_laboratory
from training.evaluation.candidates import Candidate
from training.evaluation.laboratory_plates import (
    BundleExtractor,
    LaboratoryPlate,
    StageTimes,
    observe_plates,
)
from training.evaluation.laboratory_protocol import (
    HIDDEN,
    LEFT_OUT,
    MIXED,
    Protocol,
    Reading,
    Result,
)
from training.evaluation.rows import write_text_atomically

log = structlog.get_logger(__name__)

GROUPS = (MIXED, HIDDEN, LEFT_OUT, *Mechanism, *HiddenMechanism)
BOOTSTRAPS = 2_000
MOST_LOSS = -0.02
"""Smallest gain of embedding and measures over the better of both that is wanted."""
FIRST_SEED = 7_000
TABLE, LOG = "laboratories.txt", "laboratories.csv"
LOG_COLUMNS = (
    "date",
    "version",
    "first_seed",
    "laboratories",
    "renderers",
    "plates",
    "wells",
    "size_px",
    "reading",
    "assays",
    "group",
    "tested",
    "mean",
    "low",
    "high",
    "worst_laboratory",
    "worst",
)


@dataclass(frozen=True)
class LaboratorySet:
    """The laboratories of an evaluation, and the sizes of their plates."""

    laboratories: int = 40
    first_seed: int = FIRST_SEED
    renderers: tuple[RendererName, ...] = tuple(RendererName)  # in turn
    plates: int = 12  # of each laboratory; more than the largest number of assay plates
    assays: tuple[int, ...] = (1, 2, 4, 8)  # numbers of assay plates
    wells: int = 60  # of each plate
    size_px: int = 512  # side of an image

    def check(self) -> None:
        """Raise ConfigError if no plate would be tested or no renderer could be left out."""
        if self.plates <= max(self.assays):
            raise ConfigError(
                "plates", f"{self.plates}; expected more than {max(self.assays)} assay plates"
            )
        if len(set(self.renderers)) < 2:  # noqa: PLR2004 - one is left out
            raise ConfigError(
                "renderers",
                f"{' '.join(self.renderers)}; expected at least two, because one is left out",
            )
        if self.laboratories < len(self.renderers):
            raise ConfigError(
                "laboratories",
                f"{self.laboratories}; expected at least one of each of the "
                f"{len(self.renderers)} renderers",
            )


QUICK_LABORATORIES = LaboratorySet(laboratories=3, plates=2, assays=(1,), wells=18, size_px=256)
"""The smallest set that uses every renderer; its values show only that everything works."""


@dataclass(frozen=True)
class Summary:
    """Results of one reading, number of assays and group of wells, over laboratories."""

    reading: str
    assays: str
    group: str
    tested: int  # laboratories
    mean: float
    low: float  # of the 95 % interval
    high: float
    worst_laboratory: int  # seed
    worst: float


def summarise(results: Sequence[Result]) -> list[Summary]:
    """Return the Summary of each reading, number of assays and group, in order of appearance."""
    by_row: dict[tuple[str, str, str], list[Result]] = {}
    for result in results:
        by_row.setdefault((result.reading, result.assays, result.group), []).append(result)
    summaries = []
    for (reading, assays, group), of_row in by_row.items():
        values = np.array([result.value for result in of_row])
        low, high = _mean_interval(values)
        worst = min(of_row, key=lambda result: result.value)
        summaries.append(
            Summary(
                reading,
                assays,
                group,
                len(values),
                float(values.mean()),
                low,
                high,
                worst.laboratory,
                worst.value,
            )
        )
    return summaries


def log_lines(summaries: Sequence[Summary], run: Sequence[object]) -> Iterator[list[object]]:
    """Yield one line of the log for each Summary, which begins with the properties of the run."""
    for each in summaries:
        numbers = [f"{value:.4f}" for value in (each.mean, each.low, each.high)]
        yield [
            *run,
            each.reading,
            each.assays,
            each.group,
            each.tested,
            *numbers,
            each.worst_laboratory,
            f"{each.worst:.4f}",
        ]


def append_log(path: Path, lines: Iterator[list[object]]) -> None:
    """Append lines to a CSV file; a new file gets a header."""
    is_new = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if is_new:
            writer.writerow(LOG_COLUMNS)
        writer.writerows(lines)


def text_table(summaries: Sequence[Summary]) -> str:
    """Return a table with one row for each reading and number of assay plates."""
    groups = [group for group in GROUPS if any(each.group == group for each in summaries)]
    lines = [
        f"{'reading':<20}{'assays':<20}" + "".join(f"{group:>19}" for group in groups) + "  worst"
    ]
    rows: dict[tuple[str, str], dict[str, Summary]] = {}
    for each in summaries:
        rows.setdefault((each.reading, each.assays), {})[each.group] = each
    for (reading, assays), by_group in rows.items():
        cells = [
            f"{found.mean:>6.2f} [{found.low:.2f}, {found.high:.2f}]" if found else ""
            for found in map(by_group.get, groups)
        ]
        mixed = by_group[MIXED]
        worst = f"  {mixed.worst_laboratory}: {mixed.worst:.2f}"
        lines.append(
            f"{reading:<20}{assays:<20}" + "".join(f"{cell:>19}" for cell in cells) + worst
        )
    return "\n".join(lines) + "\n"


def fusion_table(results: Sequence[Result]) -> str:
    """Return a table of the gain of each encoder with the measures over the better of its parts.

    The gain of a laboratory is its correlation over all treated wells by embedding and measures,
    minus the larger one of the two by the embedding and by the measures. A row gives the mean over
    laboratories, its 95 % bootstrap interval, the number of laboratories whose gain is below
    :data:`MOST_LOSS`, and the number of those that are clearly below: the upper limit of the 95 %
    interval of Student's t over their plates is below it, too.
    """
    by_plate = {
        (each.reading, each.assays, each.laboratory): np.array(each.by_plate)
        for each in results
        if each.group == MIXED
    }
    gains: dict[tuple[str, str], list[Float64Array]] = {}
    for (reading, assays, laboratory), values in by_plate.items():
        if reading.endswith(" both"):
            encoder = reading.removesuffix(" both")
            parts = (
                by_plate[part, assays, laboratory] for part in (f"{encoder} embedding", "measures")
            )
            gains.setdefault((encoder, assays), []).append(values - max(parts, key=np.nanmean))
    heads = f"{'both − better part':>27}  below {MOST_LOSS}  clearly"
    lines = [f"{'encoder':<20}{'assays':<20}{heads}"]
    for (encoder, assays), of_row in gains.items():
        found = np.array([np.nanmean(of_plates) for of_plates in of_row])
        low, high = _mean_interval(found)
        cell = f"{found.mean():+.3f} [{low:+.3f}, {high:+.3f}]"
        below = f"{(found < MOST_LOSS).sum()} of {len(found)}"
        clearly = sum(_upper_limit(of_plates) < MOST_LOSS for of_plates in of_row)
        lines.append(f"{encoder:<20}{assays:<20}{cell:>27}  {below:<11}  {clearly}")
    return "\n".join(lines) + "\n"


def _upper_limit(values: Float64Array) -> float:
    """Return the upper limit of the 95 % interval of Student's t of the mean of values (P,).

    Missing values are NaN. The limit of fewer than two values is infinite.
    """
    values = values[np.isfinite(values)]
    if len(values) < 2:  # noqa: PLR2004 - one value has no standard deviation
        return float("inf")
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return float(values.mean() + reach)


def _mean_interval(values: Float64Array) -> tuple[float, float]:
    """Return the 95 % bootstrap interval of the mean of values (laboratories,)."""
    draws = np.random.default_rng(0).choice(values, (BOOTSTRAPS, len(values)))
    low, high = np.quantile(draws.mean(axis=1), (0.025, 0.975))
    return float(low), float(high)


def draw_laboratories(
    first_seed: int, count: int, renderers: Sequence[RendererName]
) -> list[Laboratory]:
    """Return ``count`` laboratories of consecutive seeds, with the renderers in turn.

    Each has a seed of its own: laboratories of one seed have the same treatments and kills.
    """
    return [
        draw_laboratory(first_seed + number, renderers[number % len(renderers)])
        for number in range(count)
    ]


def readings_of(encoders: Sequence[str]) -> list[Reading]:
    """Return the readings that are compared: the measures, and each encoder alone and with them."""
    return [
        Reading("", "measures"),
        *(
            Reading(encoder, representation)
            for encoder in encoders
            for representation in ("embedding", "both")
        ),
    ]


def evaluate_laboratories(
    bundles: Mapping[str, Bundle],
    chosen: LaboratorySet,
    cache_folder: Path,
    *,
    times: StageTimes | None = None,
) -> list[Result]:
    """Return the Results of all readings on the laboratories of a LaboratorySet.

    Parameters
    ----------
    bundles
        Encoder bundles by the name in the results.
    chosen
        The laboratories and their plates.
    cache_folder
        Folder of rendered plates and embeddings.
    times
        Receives the seconds of each stage.

    Raises
    ------
    ConfigError
        If the LaboratorySet cannot be evaluated.
    """
    times = times or StageTimes()
    laboratories, plates = observe_laboratories(bundles, chosen, cache_folder, times)
    protocol = Protocol(laboratories, plates, chosen.assays)
    results = []
    for fold in protocol.folds:
        laboratory = laboratories[fold.tested]
        log.info(
            "laboratory.tested", laboratory=laboratory.description, left_out=str(fold.mechanism)
        )
        with times.stage("readout"):
            for reading in readings_of(list(bundles)):
                results += protocol.test(fold, reading)
    if protocol.fallbacks:
        log.warning("calibrations.not_valid", tested_plates=protocol.fallbacks)
    return results


def observe_laboratories(
    bundles: Mapping[str, Bundle], chosen: LaboratorySet, cache_folder: Path, times: StageTimes
) -> tuple[list[Laboratory], list[list[LaboratoryPlate]]]:
    """Return the laboratories of a LaboratorySet, and the observed plates of each.

    Parameters and errors are those of :func:`evaluate_laboratories`.
    """
    chosen.check()
    laboratories = draw_laboratories(chosen.first_seed, chosen.laboratories, chosen.renderers)
    extractors = [BundleExtractor(name, bundle) for name, bundle in bundles.items()]
    plates = [
        observe_plates(
            laboratory.plates(chosen.plates, size_px=chosen.size_px),
            extractors,
            cache_folder,
            times,
            wells=chosen.wells,
        )
        for laboratory in laboratories
    ]
    return laboratories, plates


def write_laboratories(
    candidates: Sequence[Candidate], chosen: LaboratorySet, out: Path, cache_folder: Path
) -> Path:
    """Evaluate encoders on laboratories, write the table and the log, and return the table's file.

    Writes ``out/laboratories.txt`` and appends to ``out/laboratories.csv``.

    Parameters
    ----------
    candidates
        Encoders to compare; the measures are always compared.
    chosen
        The laboratories and their plates.
    out
        Folder of the results.
    cache_folder
        Folder of rendered plates and embeddings.

    Raises
    ------
    ConfigError
        If the LaboratorySet cannot be evaluated, or a candidate joins several encoders.
    """
    bundles: dict[str, Bundle] = {}
    for candidate in candidates:
        if len(candidate.bundles) > 1:
            raise ConfigError(
                candidate.name, "joins several encoders; expected one encoder with --laboratories"
            )
        if candidate.bundles:
            bundles[candidate.name] = candidate.bundles[0]
    results = evaluate_laboratories(bundles, chosen, cache_folder)
    summaries = summarise(results)
    version = importlib.metadata.version("spherorank")
    append_log(out / LOG, log_lines(summaries, run_properties(chosen, version)))
    write_text_atomically(out / TABLE, f"{text_table(summaries)}\n{fusion_table(results)}")
    return out / TABLE


def run_properties(chosen: LaboratorySet, version: str) -> tuple[object, ...]:
    """Return the first columns of the log: the date, a version of the code and the set."""
    return (
        datetime.now(UTC).date().isoformat(),
        version,
        chosen.first_seed,
        chosen.laboratories,
        " ".join(chosen.renderers),
        chosen.plates,
        chosen.wells,
        chosen.size_px,
    )
