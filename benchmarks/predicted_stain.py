"""Compare calibrations with and without a predicted stain, on a renderer left out of its training.

    python -m benchmarks.predicted_stain --left-out growing_front --out /tmp/predicted-stain

A stain network is trained on laboratories of the other renderers (``spherorank train stain``). The
first table compares the predicted dead share of the core with the true dead share on the tested
laboratories: Spearman's correlation over all wells of a plate, and the mean absolute error. The
uncertainty column is Spearman's correlation of the predicted standard deviation with the error.

The second table gives Spearman's correlation of predicted deterioration with the true kill over
treated wells, with the measures alone and with the measures and the predictions. A calibration
learns from assay plates of the tested laboratory without one mechanism, or from one plate of each
training laboratory (:mod:`training.evaluation.laboratory_protocol`). Rendered plates and the
network are kept in ``--out``.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
from scipy.stats import spearmanr

from benchmarks.ranking_heads import (
    FIRST_TESTED_SEED,
    OTHERS,
    OWN,
    interval,
    laboratory_parser,
    mean_correlations,
    observe,
    other_renderers,
    parse_with_tested_plates,
    training_laboratories,
)
from inference.deterioration.calibration import refit
from inference.deterioration.models import MODELS
from inference.tissue.onnx_stain import CARD_FILE, OnnxStain, load_stain
from inference.tissue.ranked_measures import STAIN_FEATURES, stain_values
from schemas.tissue import Segmentation
from schemas.trajectory import Trajectories
from schemas.well_image import WellImage
from simulation.fluorescence import cells_after
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from training.evaluation.laboratories import draw_laboratories
from training.evaluation.laboratory_plates import LaboratoryPlate, StageTimes
from training.evaluation.laboratory_protocol import (
    LEFT_OUT,
    MIXED,
    Array,
    Fold,
    Reading,
    assay_plate,
    named_card,
    plan_folds,
    without_mechanism,
)

PREDICTED = "predicted stain"
MEASURES = Reading("", "measures")
_SEED = 1


class StainExtractor:
    """The stain features of a bundle and the standard deviation of the core's share, (3,)."""

    def __init__(self, stain: OnnxStain) -> None:
        self._stain = stain

    @property
    def digest(self) -> str:
        """Name and id of the bundle."""
        return f"stain {self._stain.stain_id}"

    def extract(
        self, image: WellImage, sharpest_plane: int, segmentation: Segmentation
    ) -> Mapping[str, npt.NDArray[np.float32]]:
        """Return the features by the name :data:`PREDICTED`; NaN where they are undefined."""
        plane = image.planes[sharpest_plane]
        predicted = self._stain.predicted_measures(plane, segmentation, image.um_per_px)
        area = float(segmentation.body.sum()) * (image.um_per_px or 1.0) ** 2
        deviation = predicted.get("predicted_dead_share_core_sd", np.nan)
        values = [*stain_values({"area_um2": area} | predicted), deviation]
        return {PREDICTED: np.array(values, np.float32)}


@dataclass(frozen=True)
class Accuracy:
    """Agreement of the predicted dead share of the core with the truth on one plate."""

    spearman: float
    error: float  # mean absolute, 0…1
    uncertainty: float  # Spearman's correlation of the standard deviation with the error


@dataclass(frozen=True)
class Gain:
    """Correlations with the true kill of one model on one laboratory, without and with a stain."""

    model: str
    learned_from: str
    group: str
    without: float
    with_stain: float


def trained_stain(options: argparse.Namespace, out: Path) -> OnnxStain:
    """Return the stain network, trained on the other renderers if it is absent."""
    if not (out / "bundle" / CARD_FILE).is_file():
        from training.stain.train import train_stain  # noqa: PLC0415 - loads torch

        origin, _ = train_stain(
            out,
            seed=0,
            steps=options.steps,
            images=options.images,
            threads=1,
            renderers=other_renderers(options.left_out),
        )
        print(
            f"validation on the renderers of the training: mean error "
            f"{origin.validation_error:.3f}, of a constant {origin.constant_error:.3f}",
            flush=True,
        )
    return OnnxStain(load_stain(out / "bundle"))


def accuracy(plate: LaboratoryPlate) -> Accuracy:
    """Return the Accuracy of the prediction on the readout day of a plate."""
    predicted = plate.features[PREDICTED][:, 1]
    share, deviation = predicted[:, 1], predicted[:, 2]
    cells = [
        cells_after(kill, mechanism)
        for kill, mechanism in zip(plate.kill, plate.mechanisms, strict=True)
    ]
    truth = np.array([dead / (live + dead) for live, dead in cells])
    seen = np.isfinite(share)
    error = np.abs(share - truth)[seen]
    return Accuracy(
        _correlation(share[seen], truth[seen]),
        float(error.mean()),
        _correlation(deviation[seen], error),
    )


def _correlation(one: Array, other: Array) -> float:
    """Return Spearman's correlation; NaN if one of the variables is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def features(plate: LaboratoryPlate, *, with_stain: bool) -> Trajectories:
    """Return the measures of a plate's wells, with the predictions on request."""
    measured = plate.trajectories("measures", "")
    if not with_stain:
        return measured
    predicted = plate.features[PREDICTED][:, :, : len(STAIN_FEATURES)]
    return replace(
        measured,
        features=np.concatenate([measured.features, predicted], axis=2),
        feature_names=(*measured.feature_names, *STAIN_FEATURES),
    )


def predicted_kill(
    learned: Sequence[LaboratoryPlate],
    tested: Sequence[LaboratoryPlate],
    model: str,
    *,
    with_stain: bool,
) -> list[Array]:
    """Return the predicted percent, (N,) of each tested plate, by a model of learned plates."""
    assayed = [
        replace(assay_plate(plate, MEASURES), trajectories=features(plate, with_stain=with_stain))
        for plate in learned
    ]
    calibration = refit(assayed, named_card(model, MEASURES), seed=_SEED)
    return [
        calibration.predict(
            features(plate, with_stain=with_stain),
            dosing_day=DOSED_ON_DAY,
            readout_day=READOUT_DAY,
        ).percent
        for plate in tested
    ]


def gains(
    fold: Fold, plates: Sequence[Sequence[LaboratoryPlate]], options: argparse.Namespace
) -> list[Gain]:
    """Return the Gain of each model on the tested laboratory of a fold."""
    learned = {
        OWN: plates[fold.tested][: options.assays],
        OTHERS: [plates[place][0] for place in fold.training],
    }
    tested = plates[fold.tested][options.assays :]
    found = []
    for source, of_source in learned.items():
        kept = [without_mechanism(plate, fold.mechanism) for plate in of_source]
        for model in MODELS:
            both = [
                mean_correlations(
                    predicted_kill(kept, tested, model, with_stain=with_stain),
                    tested,
                    fold.mechanism,
                )
                for with_stain in (False, True)
            ]
            for group in (MIXED, LEFT_OUT):
                means = [each.get(group, np.nan) for each in both]
                if np.isfinite(means).all():
                    found.append(Gain(model, source, group, *means))
    return found


def print_accuracy(named: Mapping[str, Sequence[Accuracy]]) -> None:
    """Print the first table; the keys are names of groups of laboratories."""
    print(
        "\n| laboratories | plates | Spearman | mean error | uncertainty |\n|---|---|---|---|---|"
    )
    for name, found in named.items():
        columns = np.array([[each.spearman, each.error, each.uncertainty] for each in found])
        spearman, error, uncertainty = np.nanmean(columns, axis=0)
        print(f"| {name} | {len(found)} | {spearman:.2f} | {error:.2f} | {uncertainty:.2f} |")


def print_gains(found: Sequence[Gain]) -> None:
    """Print the second table; the interval is the 95 % bootstrap interval of the difference."""
    print("\n| learned from | wells | model | measures | with stain | difference | interval |")
    print("|---|---|---|---|---|---|---|")
    for key in dict.fromkeys((each.learned_from, each.group, each.model) for each in found):
        rows = [each for each in found if (each.learned_from, each.group, each.model) == key]
        without, with_stain = (
            np.array([getattr(each, name) for each in rows]) for name in ("without", "with_stain")
        )
        difference = with_stain - without
        print(
            f"| {' | '.join(key)} | {without.mean():.2f} | {with_stain.mean():.2f} "
            f"| {difference.mean():+.2f} | {interval(difference.tolist())} |"
        )


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = laboratory_parser(str(__doc__), training=6)
    parser.add_argument("--steps", type=int, default=600, help="of the training")
    parser.add_argument("--images", type=int, default=480, help="wells of the training")
    return parse_with_tested_plates(parser)


def main() -> None:
    """Train the network, test every model with and without it, and print the tables."""
    options = parse_options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    tested = draw_laboratories(FIRST_TESTED_SEED, options.tested, [options.left_out])
    training = training_laboratories(options.training, options.left_out)
    times = StageTimes()
    with times.stage("train"):
        stain = trained_stain(options, options.out / options.left_out / "stain")
    plates = observe({options.plates: tested, 1: training}, [StainExtractor(stain)], options, times)
    of_tested = plates[: len(tested)]
    print_accuracy(
        {
            "left-out renderer": [accuracy(plate) for of_one in of_tested for plate in of_one],
            "renderers of the training": [accuracy(of_one[0]) for of_one in plates[len(tested) :]],
        }
    )
    folds = [fold for fold in plan_folds([*tested, *training]) if fold.tested < len(tested)]
    print_gains([gain for fold in folds for gain in gains(fold, plates, options)])
    print(f"\ntime: {times}")


if __name__ == "__main__":
    main()
