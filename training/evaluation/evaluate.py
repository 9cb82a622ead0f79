"""Evaluation of encoders, ``spherorank evaluate``: metrics of each encoder and of the measures.

The results are written as JSON, HTML and text.
"""

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
from training.evaluation.baseline import baseline_accuracies
from training.evaluation.embeddings import (
    EvaluationEmbeddings,
    MeasuresAsEncoder,
    embed_evaluation_images,
    join_encoders,
    scale_to_untreated_spread,
)
from training.evaluation.encoder_metrics import SEED, compute_metrics, split_probe_plates
from training.evaluation.plates import (
    MIXED,
    EvaluationPlate,
    EvaluationSet,
    evaluation_plates,
    indices_of_kind,
)
from training.evaluation.proxy_correlation import correlate_proxies
from training.evaluation.real_images import real_images
from training.evaluation.report import encoder_report_html, text_table
from training.evaluation.rows import ChartPoints, EncoderRow, read_row, write_text_atomically

log = structlog.get_logger(__name__)

MEASURES = "measures"
REPORT, TABLE, ROWS = "report.html", "table.txt", "rows"


@dataclass(frozen=True)
class _Candidate:
    """One encoder to evaluate, several joined ones, or without bundles the tissue measures."""

    name: str
    bundles: tuple[Bundle, ...]

    @property
    def encoder_id(self) -> str:
        """Return the id of the encoder, or one id for joined encoders."""
        ids = [bundle.card.encoder_id for bundle in self.bundles]
        if len(ids) > 1:
            return f"joined-{hashlib.sha256(' '.join(ids).encode()).hexdigest()[:16]}"
        return ids[0] if ids else MeasuresAsEncoder.encoder_id


@dataclass(frozen=True)
class _EvaluationData:
    """The images that every encoder is evaluated on."""

    chosen: EvaluationSet
    plates: Sequence[EvaluationPlate]
    real: Sequence[WellImage]
    cache_folder: Path
    digest: str


def evaluate_bundles(
    bundles: Sequence[str],
    out: Path,
    *,
    cache_folder: Path,
    real_data: Path | None = None,
    chosen: EvaluationSet | None = None,
    threads: int = 1,
) -> list[EncoderRow]:
    """Evaluate named bundles and the measures, write a report, and return the rows, measures first.

    Writes ``out/report.html``, ``out/table.txt`` and ``out/rows/<encoder_id>.json``. Existing rows
    and cached embeddings are used again. The first run renders the images, in a few minutes.

    Parameters
    ----------
    bundles
        Names of shipped bundles, or folders; ``a+b`` is evaluated as one encoder.
    cache_folder
        Folder of rendered plates and embeddings.
    real_data
        Folder of real images; None leaves them out.
    chosen
        The plates; None for the default ones.
    threads
        CPU threads of an encoder.

    Raises
    ------
    ConfigError
        If a bundle is missing, damaged, or named twice.
    """
    candidates = [_Candidate(MEASURES, ()), *(_load_candidate(name) for name in bundles)]
    _check_different(candidates)
    chosen = chosen or EvaluationSet()
    plates = evaluation_plates(chosen, cache_folder)
    real = real_images(real_data) if real_data is not None else []
    data = _EvaluationData(chosen, plates, real, cache_folder, _digest(chosen, plates, real))
    rows = []
    for candidate in candidates:
        path = out / ROWS / f"{candidate.encoder_id}.json"
        row = read_row(path, candidate.encoder_id, data.digest)
        if row is None:
            row = _make_row(candidate, data, threads)
            if len(candidate.bundles) == 1:
                row = _add_baselines(row, candidate.bundles[0].card.preprocessing, data, threads)
            write_text_atomically(path, row.model_dump_json(indent=1) + "\n")
            log.info(
                "encoder.evaluated",
                encoder=candidate.name,
                uncalibrated=row.numbers["uncalibrated_mixed"],
                calibrated=row.numbers["calibrated_mixed"],
            )
        rows.append(row.model_copy(update={"name": candidate.name}))
    write_report(rows, out, plates)
    return rows


def write_report(rows: Sequence[EncoderRow], out: Path, plates: Sequence[EvaluationPlate]) -> None:
    """Write the text table and the HTML report of evaluated encoders into a folder."""
    correlations = correlate_proxies([row.known_numbers() for row in rows if row.kind == "encoder"])
    write_text_atomically(out / TABLE, text_table(rows, correlations))
    write_text_atomically(out / REPORT, encoder_report_html(rows, correlations, plates))


def _load_candidate(name: str) -> _Candidate:
    parts = [name] if Path(name).is_dir() else name.split("+")
    return _Candidate(
        "+".join(Path(part).name for part in parts), tuple(load_bundle(part) for part in parts)
    )


def _check_different(candidates: Sequence[_Candidate]) -> None:
    """Raise ConfigError if an encoder occurs twice."""
    names: dict[str, str] = {}
    for candidate in candidates:
        if candidate.encoder_id in names:
            raise ConfigError(
                candidate.name,
                f"is the same encoder as {names[candidate.encoder_id]} ({candidate.encoder_id}); "
                "expected different encoders",
            )
        names[candidate.encoder_id] = candidate.name


def _digest(
    chosen: EvaluationSet, plates: Sequence[EvaluationPlate], real: Sequence[WellImage]
) -> str:
    """Return a digest of all evaluation images; its text includes the field names of the set."""
    content = hashlib.sha256(repr(chosen).encode())
    for plate in plates:
        content.update(f"{plate.name} {plate.planes.shape}".encode() + plate.measures.tobytes())
    for image in real:
        content.update(image.pixel_digest.encode())
    return content.hexdigest()[:16]


def _make_row(candidate: _Candidate, data: _EvaluationData, threads: int) -> EncoderRow:
    """Return the row of an encoder, with all metrics except the supervised baseline."""
    embeddings = _embed(candidate, data, threads)
    metrics, scores = compute_metrics(
        embeddings, data.plates, service_calibration=data.chosen.service_calibration
    )
    return EncoderRow(
        name=candidate.name,
        encoder_id=candidate.encoder_id,
        evaluated_on=data.digest,
        kind="joined"
        if len(candidate.bundles) > 1
        else "encoder"
        if candidate.bundles
        else "measures",
        dimension=embeddings.dimension,
        numbers={name: value if np.isfinite(value) else None for name, value in metrics.items()},
        points=_chart_points(
            scale_to_untreated_spread(embeddings, data.plates), data.plates, scores
        ),
    )


def _embed(candidate: _Candidate, data: _EvaluationData, threads: int) -> EvaluationEmbeddings:
    if not candidate.bundles:
        return embed_evaluation_images(
            MeasuresAsEncoder(),
            data.plates,
            data.real,
            data.cache_folder,
            ranking_weight=0.0,
            viewed_wells=data.chosen.viewed_wells,
        )
    encoders = [
        OnnxEncoder(bundle, providers="cpu", intra_op_threads=threads)
        for bundle in candidate.bundles
    ]
    parts = [
        embed_evaluation_images(
            encoder,
            data.plates,
            data.real,
            data.cache_folder,
            ranking_weight=encoder.card.ranking_weight,
            viewed_wells=data.chosen.viewed_wells,
        )
        for encoder in encoders
    ]
    return parts[0] if len(parts) == 1 else join_encoders(parts, data.plates)


def _add_baselines(
    row: EncoderRow, preprocessing: Preprocessing, data: _EvaluationData, threads: int
) -> EncoderRow:
    """Return the row with the accuracies of the supervised baseline on the encoder's input.

    The baseline is trained once for all encoders of the same preprocessing.
    """
    digest = hashlib.sha256(
        f"{row.evaluated_on} {preprocessing.model_dump_json()}".encode()
    ).hexdigest()[:16]
    path = data.cache_folder / "baselines" / f"{digest}.json"
    if not path.exists():
        train, test = split_probe_plates(data.plates)
        accuracies = baseline_accuracies(
            [data.plates[place] for place in train],
            [data.plates[place] for place in test],
            preprocessing,
            steps=data.chosen.baseline_steps,
            seed=SEED,
            threads=threads,
        )
        write_text_atomically(path, json.dumps(dict(accuracies)))
    known: dict[str, float] = json.loads(path.read_text(encoding="utf-8"))
    return row.model_copy(update={"numbers": row.numbers | known})


def _chart_points(
    embeddings: EvaluationEmbeddings,
    plates: Sequence[EvaluationPlate],
    scores: Mapping[str, Sequence[npt.NDArray[np.float64]]],
) -> ChartPoints:
    """Return the points of the charts: treated wells of mixed plates.

    The coordinates are principal components of the differences from untreated wells.
    """
    mixed = list(indices_of_kind(plates, MIXED))
    treated = [~plates[place].untreated for place in mixed]
    differences = [
        embeddings.plates[place][:, -1]
        - np.median(embeddings.plates[place][plates[place].untreated, -1], axis=0)
        for place in mixed
    ]
    rows = np.concatenate([each[mask] for each, mask in zip(differences, treated, strict=True)])
    left, sizes, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)

    def of_treated(arrays: Sequence[npt.NDArray[np.float64]]) -> tuple[float | None, ...]:
        values = np.concatenate(
            [arrays[place][mask] for place, mask in zip(mixed, treated, strict=True)]
        )
        return tuple(round(float(value), 2) if np.isfinite(value) else None for value in values)

    return ChartPoints(
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
