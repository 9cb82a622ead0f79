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

from inference.encoding.onnx_encoder import OnnxEncoder
from schemas.encoder_bundle import Preprocessing
from schemas.well_image import WellImage
from training.evaluation.baseline import baseline_accuracies
from training.evaluation.candidates import Candidate, load_candidates
from training.evaluation.embeddings import (
    EvaluationEmbeddings,
    MeasuresAsEncoder,
    embed_evaluation_images,
    join_encoders,
    scale_to_untreated_spread,
)
from training.evaluation.encoder_metrics import SEED, compute_metrics, probe_folds
from training.evaluation.plates import (
    MIXED,
    QUICK_SET,
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

REPORT, TABLE, ROWS = "report.html", "table.txt", "rows"


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

    Writes ``out/report.html``, ``out/table.txt`` and a row of each encoder,
    ``out/rows/<image set>/<encoder_id>.json``, so that rows of other images are kept. Existing rows
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
        If a bundle is missing, damaged, or named twice, or ``real_data`` is no folder.
    """
    candidates = load_candidates(bundles, real_data)
    chosen = chosen or EvaluationSet()
    plates = evaluation_plates(chosen, cache_folder)
    real = real_images(real_data) if real_data is not None else []
    data = _EvaluationData(chosen, plates, real, cache_folder, _digest(chosen, plates, real))
    image_set = image_set_name(chosen, real, data.digest)
    rows = []
    for candidate in candidates:
        path = out / ROWS / image_set / f"{candidate.encoder_id}.json"
        row = read_row(path, candidate.encoder_id, data.digest)
        if row is None or row.ranking_weight != candidate.ranking_weight:
            row = _make_row(candidate, data, threads)
            if len(candidate.bundles) == 1 and chosen.baseline_steps:
                row = _add_baselines(row, candidate.bundles[0].card.preprocessing, data, threads)
            write_text_atomically(path, row.model_dump_json(indent=1) + "\n")
            log.info(
                "encoder.evaluated",
                encoder=candidate.name,
                uncalibrated=row.numbers["uncalibrated_mixed"],
                calibrated=row.numbers["calibrated_mixed"],
            )
        rows.append(row.model_copy(update={"name": candidate.name}))
    write_report(rows, out, plates, image_set)
    return rows


def write_report(
    rows: Sequence[EncoderRow], out: Path, plates: Sequence[EvaluationPlate], image_set: str
) -> None:
    """Write the text table and the HTML report of encoders on a named image set into a folder."""
    correlations = correlate_proxies([row.known_numbers() for row in rows if row.kind == "encoder"])
    write_text_atomically(out / TABLE, text_table(rows, correlations, image_set))
    write_text_atomically(out / REPORT, encoder_report_html(rows, correlations, plates, image_set))


def image_set_name(chosen: EvaluationSet, real: Sequence[WellImage], digest: str) -> str:
    """Return the name of a set of evaluation images, which is the folder of its rows."""
    kind = "quick" if chosen == QUICK_SET else "virtual"
    return f"{kind}{'-real' if real else ''}-{digest[:8]}"


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


def _make_row(candidate: Candidate, data: _EvaluationData, threads: int) -> EncoderRow:
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
        ranking_weight=candidate.ranking_weight,
        numbers={name: value if np.isfinite(value) else None for name, value in metrics.items()},
        points=_chart_points(
            scale_to_untreated_spread(embeddings, data.plates), data.plates, scores
        ),
    )


def _embed(candidate: Candidate, data: _EvaluationData, threads: int) -> EvaluationEmbeddings:
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
        *_, (train, test) = probe_folds(data.plates)
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
