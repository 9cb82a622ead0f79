"""Compare ranking heads on frozen encoders, with one renderer and one mechanism left out.

    python -m benchmarks.ranking_heads --left-out growing_front --out /tmp/ranking-heads

The encoders are trained for the same small number of steps on plates of laboratories whose
renderers differ from that of the tested laboratories. They are compared with ImageNet weights and
with random weights. A head is the pairwise ranking model or a regressor of the service's
calibration. It learns from the assay plates of the tested laboratory, without the wells of one
mechanism (:mod:`training.evaluation.laboratory_protocol`), or from one plate of each training
laboratory.

The table gives Spearman's correlation of the head's score with the true kill: the mean over
laboratories, for all treated wells (``mixed``) and for those of the left-out mechanism
(``left_out``). Rendered plates, trainings and features are kept in ``--out``.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import structlog

from benchmarks.laboratory_bundles import encoder_bundles
from benchmarks.observed_plates import ROOT
from inference.bundle import CARD_FILE, Bundle, load_bundle
from inference.deterioration.calibration import KERNEL
from inference.deterioration.models import SINGLE_MODELS
from schemas.trajectory import Representation
from simulation.kinds import RendererName
from simulation.laboratories.laboratory import Laboratory, draw_laboratory
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from simulation.robot import write_plates
from training.evaluation.laboratories import BOOTSTRAPS, draw_laboratories
from training.evaluation.laboratory_plates import (
    BundleExtractor,
    FeatureExtractor,
    LaboratoryPlate,
    StageTimes,
    observe_plates,
)
from training.evaluation.laboratory_protocol import (
    LEFT_OUT,
    MIXED,
    Array,
    Fold,
    Reading,
    kill_correlations,
    named_card,
    plan_folds,
    predicted_percent,
    without_mechanism,
)

if TYPE_CHECKING:
    from training.encoder.config import EncoderTrainingConfig

OBJECTIVES = ("simclr", "byol", "dino", "mae", "supcon")
UNTRAINED = ("imagenet", "random")
HEADS = (*SINGLE_MODELS, KERNEL)
OWN, OTHERS = "own plates", "other laboratories"
FIRST_TESTED_SEED, FIRST_TRAINING_SEED = 7_300, 8_300
PATTERN = "{plate}/day{day}/{well}_z{plane}.tif"


@dataclass(frozen=True)
class Row:
    """Correlation of one head on one tested laboratory."""

    laboratory: int  # seed
    reading: Reading
    head: str
    learned_from: str  # OWN or OTHERS
    group: str  # MIXED or LEFT_OUT
    value: float


def other_renderers(left_out: RendererName) -> list[RendererName]:
    """Return the renderers of the training laboratories."""
    return [name for name in RendererName if name is not left_out]


def training_laboratories(count: int, left_out: RendererName) -> list[Laboratory]:
    """Return laboratories of consecutive seeds, with the other renderers in turn.

    Each has a seed of its own, because the seed is in the names of the plates.
    """
    names = other_renderers(left_out)
    return [
        draw_laboratory(FIRST_TRAINING_SEED + number, names[number % len(names)])
        for number in range(count)
    ]


def training_images(
    laboratories: Sequence[Laboratory], options: argparse.Namespace, out: Path
) -> list[Path]:
    """Return a drop folder for each training laboratory with one plate, rendered if absent."""
    folders = []
    for laboratory in laboratories:
        folder = out / "images" / f"{laboratory.renderer_name}-{laboratory.seed}"
        if not (folder / "truth.csv").exists():
            scopes = laboratory.plates(1, size_px=options.size, wells=options.training_wells)
            write_plates(folder, scopes, days=(DOSED_ON_DAY, READOUT_DAY))
        folders.append(folder / "drop")
    return folders


def training_config(
    objective: str, images: Sequence[Path], options: argparse.Namespace, out: Path
) -> "EncoderTrainingConfig":
    """Return the training configuration of an objective with the common images and budget."""
    from training.encoder.config import (  # noqa: PLC0415 - loads torch
        ArchiveSection,
        EncoderDataSection,
        load_encoder_training_config,
    )

    row = load_encoder_training_config(ROOT / "benchmarks" / "encoder_rows" / f"{objective}.toml")
    data = EncoderDataSection(
        archives=tuple(ArchiveSection(folder=folder, pattern=PATTERN) for folder in images),
        cache=out / "crops",
    )
    run = row.run.model_copy(update={"steps": options.steps, "batch": options.batch, "threads": 1})
    return row.model_copy(update={"data": data, "run": run})


def trained_bundles(
    laboratories: Sequence[Laboratory], options: argparse.Namespace, out: Path
) -> dict[str, Bundle]:
    """Return the bundle of each objective; missing ones are trained on the laboratories."""
    found = {}
    for objective in options.objectives:
        folder = out / "trainings" / f"{objective}-{options.steps}-{options.batch}"
        if not (folder / "bundle" / CARD_FILE).is_file():
            from training.encoder.train import train_encoder  # noqa: PLC0415 - loads torch

            images = training_images(laboratories, options, out)
            trained = train_encoder(training_config(objective, images, options, out), folder)
            print(f"{objective}: {trained.summary}", flush=True)
        found[objective] = load_bundle(str(folder / "bundle"))
    return found


def fold_rows(
    fold: Fold,
    plates: Sequence[Sequence[LaboratoryPlate]],
    laboratory: int,
    *,
    assays: int,
    chosen: Sequence[str],
) -> list[Row]:
    """Return the rows of the tested laboratory of a fold.

    Parameters
    ----------
    plates
        Plates of each laboratory; the first plates of the tested one have assays.
    laboratory
        Seed of the tested laboratory.
    assays
        Number of assay plates.
    chosen
        Names of the heads.
    """
    learned = {
        OWN: [without_mechanism(each, fold.mechanism) for each in plates[fold.tested][:assays]],
        OTHERS: [without_mechanism(plates[place][0], fold.mechanism) for place in fold.training],
    }
    tested = plates[fold.tested][assays:]
    encoders = tuple(tested[0].features)
    rows = []
    for reading in readings(encoders):
        for head in heads(reading, chosen):
            for source, of_source in learned.items():
                scores = predicted_percent(of_source, tested, reading, named_card(head, reading))
                values = mean_correlations(scores, tested, fold.mechanism)
                rows += [
                    Row(laboratory, reading, head, source, group, value)
                    for group, value in values.items()
                ]
    return rows


def readings(encoders: Sequence[str]) -> list[Reading]:
    """Return the measures alone, and each encoder alone and with the measures."""
    representations: tuple[Representation, ...] = ("embedding", "both")
    return [
        Reading("", "measures"),
        *(Reading(encoder, each) for encoder in encoders for each in representations),
    ]


def heads(reading: Reading, chosen: Sequence[str]) -> list[str]:
    """Return the chosen heads that a reading allows; the kernel model needs an embedding."""
    return [head for head in chosen if head != KERNEL or reading.representation != "measures"]


def mean_correlations(
    scores: Sequence[Array], plates: Sequence[LaboratoryPlate], left_out: str
) -> dict[str, float]:
    """Return the mean correlation over plates for :data:`MIXED` and :data:`LEFT_OUT`."""
    values: dict[str, list[float]] = {}
    for of_plate, plate in zip(scores, plates, strict=True):
        found = kill_correlations(of_plate, plate, left_out)
        for group in (MIXED, LEFT_OUT):
            if group in found:
                values.setdefault(group, []).append(found[group])
    return {group: float(np.mean(of_group)) for group, of_group in values.items()}


def table(rows: Sequence[Row], learned_from: str, group: str) -> list[str]:
    """Return the lines of a table in Markdown: a row for each reading, a column for each head.

    The interval is that of the pairwise head: 95 %, bootstrap over laboratories.
    """
    values: dict[Reading, dict[str, list[float]]] = {}
    for row in rows:
        if (row.learned_from, row.group) == (learned_from, group):
            values.setdefault(row.reading, {}).setdefault(row.head, []).append(row.value)
    named = [head for head in HEADS if any(head in by_head for by_head in values.values())]
    lines = [
        f"| encoder | features | {' | '.join(named)} | interval of pairwise |",
        "|---|---|" + "---|" * (len(named) + 1),
    ]
    for reading, by_head in values.items():
        cells = [f"{np.mean(by_head[head]):.2f}" if head in by_head else "" for head in named]
        lines.append(
            f"| {reading.encoder or '–'} | {reading.representation} | {' | '.join(cells)} "
            f"| {interval(by_head.get('pairwise', []))} |"
        )
    return lines


def interval(values: Sequence[float]) -> str:
    """Return the 95 % bootstrap interval of the mean of values as text; empty without values."""
    if not values:
        return ""
    draws = np.random.default_rng(0).choice(values, (BOOTSTRAPS, len(values))).mean(axis=1)
    low, high = np.quantile(draws, (0.025, 0.975))
    return f"{low:.2f} to {high:.2f}"


def laboratory_parser(description: str, *, training: int) -> argparse.ArgumentParser:
    """Return a parser of the laboratories and their plates, by default of so many for training."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder of the results; a cache")
    parser.add_argument(
        "--left-out", type=RendererName, default=RendererName.GROWING_FRONT, help="renderer"
    )
    parser.add_argument("--tested", type=int, default=4, help="laboratories of this renderer")
    parser.add_argument("--training", type=int, default=training, help="laboratories of the others")
    parser.add_argument("--plates", type=int, default=4, help="of each tested laboratory")
    parser.add_argument("--assays", type=int, default=2, help="plates of them with an assay")
    parser.add_argument("--wells", type=int, default=36, help="of each plate")
    parser.add_argument("--size", type=int, default=384, help="side of an image in pixels")
    return parser


def parse_with_tested_plates(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Return the options of the command line; end with an error if every plate has an assay."""
    options = parser.parse_args()
    if options.plates <= options.assays:
        parser.error(f"--plates {options.plates}; expected more than {options.assays} assays")
    return options


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = laboratory_parser(str(__doc__), training=8)
    parser.add_argument("--training-wells", type=int, default=36, help="of each training plate")
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    parser.add_argument("--objectives", nargs="*", choices=OBJECTIVES, default=list(OBJECTIVES))
    parser.add_argument("--steps", type=int, default=150, help="of each training")
    parser.add_argument("--batch", type=int, default=32, help="images of a step")
    return parse_with_tested_plates(parser)


def observe(
    laboratories: Mapping[int, Sequence[Laboratory]],
    extractors: Sequence[FeatureExtractor],
    options: argparse.Namespace,
    times: StageTimes,
) -> list[list[LaboratoryPlate]]:
    """Return the plates of each laboratory; the keys are numbers of plates."""
    return [
        observe_plates(
            laboratory.plates(count, size_px=options.size),
            extractors,
            options.out,
            times,
            wells=options.wells,
        )
        for count, of_count in laboratories.items()
        for laboratory in of_count
    ]


def main() -> None:
    """Train the encoders, test every head on every tested laboratory, and print the tables."""
    options = parse_options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    out = options.out / options.left_out
    tested = draw_laboratories(FIRST_TESTED_SEED, options.tested, [options.left_out])
    training = training_laboratories(options.training, options.left_out)
    times = StageTimes()
    with times.stage("train"):
        trained = trained_bundles(training, options, out)
    shipped = encoder_bundles(options.out)
    bundles = trained | {name: shipped[name] for name in UNTRAINED}
    extractors = [BundleExtractor(name, bundle) for name, bundle in bundles.items()]
    plates = observe({options.plates: tested, 1: training}, extractors, options, times)
    folds = [fold for fold in plan_folds([*tested, *training]) if fold.tested < len(tested)]
    rows: list[Row] = []
    for fold in folds:
        with times.stage("heads"):
            rows += fold_rows(
                fold,
                plates,
                tested[fold.tested].seed,
                assays=options.assays,
                chosen=options.heads,
            )
        print(f"{tested[fold.tested].description}; left out: {fold.mechanism}", flush=True)
    for learned_from in (OWN, OTHERS):
        for group in (MIXED, LEFT_OUT):
            if any((row.learned_from, row.group) == (learned_from, group) for row in rows):
                print(f"\nlearned from {learned_from}, wells: {group}\n")
                print("\n".join(table(rows, learned_from, group)))
    print(f"\ntime: {times}")


if __name__ == "__main__":
    main()
