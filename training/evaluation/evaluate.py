"""``spherorank evaluate``: one row of numbers for each encoder, side by side with hand measures, as JSON, HTML and text."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog

from inference.bundle import Bundle, load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from schemas.encoder_bundle import Preprocessing
from schemas.errors import ConfigError
from schemas.well_image import WellImage
from training.evaluation.baseline import baselines
from training.evaluation.helpfulness import helpfulness
from training.evaluation.looks import Looks, MeasuresEncoder, joined, look, scaled
from training.evaluation.numbers import SEED, numbers_of, split
from training.evaluation.plates import (
    MIXED,
    EvaluationPlate,
    EvaluationSet,
    evaluation_plates,
    of_kind,
)
from training.evaluation.real_images import real_images
from training.evaluation.report import report_html, text_table
from training.evaluation.rows import Points, Row, read_row, write_text

log = structlog.get_logger(__name__)

MEASURES = "measures"
REPORT, TABLE, ROWS = "report.html", "table.txt", "rows"


@dataclass(frozen=True)
class _Judged:
    """One encoder, or several joined, to be judged; no bundles: the hand measures."""

    name: str
    bundles: tuple[Bundle, ...]

    @property
    def encoder_id(self) -> str:
        ids = [bundle.card.encoder_id for bundle in self.bundles]
        if len(ids) > 1:
            return f"joined-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:16]}"
        return ids[0] if ids else MeasuresEncoder.encoder_id


def evaluate_bundles(
    bundles: Sequence[str],
    out: Path,
    *,
    cache_folder: Path,
    real_data: Path | None = None,
    chosen: EvaluationSet | None = None,
    threads: int = 1,
) -> list[Row]:
    """Judge encoders and write ``out/report.html``, ``out/table.txt`` and ``out/rows/<encoder_id>.json``; return the rows, hand measures first.

    What a folder of rows or the cache already has is not computed again. The images are rendered on the first run (a few minutes).

    Parameters
    ----------
    bundles
        Names of shipped bundles or folders; ``a+b`` is judged as one encoder, each part in its own unit.
    real_data
        Folder of real images; without it the real spheroids are left out.

    Raises
    ------
    ConfigError
        If a bundle is missing or broken, or named twice.
    """
    judged = [_Judged(MEASURES, ()), *(_judged(name) for name in bundles)]
    _check_different(judged)
    chosen = chosen or EvaluationSet()
    plates = evaluation_plates(chosen, cache_folder)
    real = real_images(real_data) if real_data is not None else []
    evaluated_on = _digest(chosen, plates, real)
    rows = []
    for each in judged:
        path = out / ROWS / f"{each.encoder_id}.json"
        row = read_row(path, each.encoder_id, evaluated_on)
        if row is None:
            row = _row(each, chosen, plates, real, cache_folder, evaluated_on, threads)
            if len(each.bundles) == 1:
                row = _with_baselines(
                    row,
                    each.bundles[0].card.preprocessing,
                    plates,
                    cache_folder,
                    chosen.baseline_steps,
                    threads,
                )
            write_text(path, row.model_dump_json(indent=1) + "\n")
            log.info(
                "encoder.judged",
                encoder=each.name,
                uncalibrated=row.numbers["uncalibrated_mixed"],
                calibrated=row.numbers["calibrated_mixed"],
            )
        rows.append(row.model_copy(update={"name": each.name}))
    write_report(rows, out, plates)
    return rows


def write_report(rows: Sequence[Row], out: Path, plates: Sequence[EvaluationPlate]) -> None:
    """Write the table and the page of several rows."""
    helps = helpfulness([row.found() for row in rows if row.kind == "encoder"])
    write_text(out / TABLE, text_table(rows, helps))
    write_text(out / REPORT, report_html(rows, helps, plates))


def _judged(name: str) -> _Judged:
    parts = [name] if Path(name).is_dir() else name.split("+")
    return _Judged(
        "+".join(Path(part).name for part in parts), tuple(load_bundle(part) for part in parts)
    )


def _check_different(judged: Sequence[_Judged]) -> None:
    seen: dict[str, str] = {}
    for each in judged:
        if each.encoder_id in seen:
            raise ConfigError(
                each.name,
                f"is the same encoder as {seen[each.encoder_id]} ({each.encoder_id}); expected different ones",
            )
        seen[each.encoder_id] = each.name


def _digest(
    chosen: EvaluationSet, plates: Sequence[EvaluationPlate], real: Sequence[WellImage]
) -> str:
    content = hashlib.sha256(repr(chosen).encode())
    for plate in plates:
        content.update(f"{plate.name} {plate.planes.shape}".encode() + plate.measures.tobytes())
    for image in real:
        content.update(image.digest.encode())
    return content.hexdigest()[:16]


def _row(
    each: _Judged,
    chosen: EvaluationSet,
    plates: Sequence[EvaluationPlate],
    real: Sequence[WellImage],
    cache_folder: Path,
    evaluated_on: str,
    threads: int,
) -> Row:
    """Look at every image and compute every number."""
    if each.bundles:
        opened = [
            OnnxEncoder(bundle, providers="cpu", intra_op_threads=threads)
            for bundle in each.bundles
        ]
        parts = [
            look(
                encoder,
                plates,
                real,
                cache_folder,
                ranking_weight=encoder.card.ranking_weight,
                viewed_wells=chosen.viewed_wells,
            )
            for encoder in opened
        ]
        looks = parts[0] if len(parts) == 1 else joined(parts, plates)
    else:
        looks = look(
            MeasuresEncoder(),
            plates,
            real,
            cache_folder,
            ranking_weight=0.0,
            viewed_wells=chosen.viewed_wells,
        )
    numbers, scores = numbers_of(looks, plates, service_calibration=chosen.service_calibration)
    return Row(
        name=each.name,
        encoder_id=each.encoder_id,
        evaluated_on=evaluated_on,
        kind="measures" if not each.bundles else "encoder" if len(each.bundles) == 1 else "joined",
        dimension=looks.dimension,
        numbers={name: value if np.isfinite(value) else None for name, value in numbers.items()},
        points=_points(scaled(looks, plates), plates, scores),
    )


def _with_baselines(
    row: Row,
    preprocessing: Preprocessing,
    plates: Sequence[EvaluationPlate],
    cache_folder: Path,
    steps: int,
    threads: int,
) -> Row:
    """Add the supervised baseline on images of this preprocessing, learned once for all encoders that share it."""
    digest = hashlib.sha256(
        f"{row.evaluated_on} {preprocessing.model_dump_json()}".encode()
    ).hexdigest()[:16]
    path = cache_folder / "baselines" / f"{digest}.json"
    if not path.exists():
        train, test = split(plates)
        found = baselines(
            [plates[place] for place in train],
            [plates[place] for place in test],
            preprocessing,
            steps=steps,
            seed=SEED,
            threads=threads,
        )
        write_text(path, json.dumps(dict(found)))
    known: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return row.model_copy(update={"numbers": row.numbers | known})


def _points(
    looks: Looks,
    plates: Sequence[EvaluationPlate],
    scores: Mapping[str, Sequence[npt.NDArray[np.float64]]],
) -> Points:
    """Return the treated wells of mixed plates; principal components of what sets them apart from untreated wells."""
    mixed = list(of_kind(plates, MIXED))
    treated = [~plates[place].untreated for place in mixed]
    differences = [
        looks.plates[place][:, -1]
        - np.median(looks.plates[place][plates[place].untreated, -1], axis=0)
        for place in mixed
    ]
    rows = np.concatenate([each[mask] for each, mask in zip(differences, treated, strict=True)])
    left, sizes, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)

    def of_treated(arrays: Sequence[npt.NDArray[np.float64]]) -> tuple[float | None, ...]:
        values = np.concatenate(
            [arrays[place][mask] for place, mask in zip(mixed, treated, strict=True)]
        )
        return tuple(round(float(value), 2) if np.isfinite(value) else None for value in values)

    return Points(
        kill_percent=tuple(
            float(100 * kill)
            for place, mask in zip(mixed, treated, strict=True)
            for kill in np.round(plates[place].kill[mask], 3)
        ),
        uncalibrated=of_treated(scores["uncalibrated"]),
        calibrated=of_treated(scores["calibrated"]),
        across=tuple(np.round(left[:, 0] * sizes[0], 3).tolist()),
        up=tuple(np.round(left[:, 1] * sizes[1], 3).tolist()),
    )
