"""Measure the information about the kill that features of frozen networks add to the measures.

    python -m benchmarks.residual --out .cache/residual

Plates of simulated laboratories of two renderers have visible and hidden mechanisms.
Kernel ridge regression predicts the kill of each plate's wells from their measures, fitted to the
other plates of the renderer. The error of this prediction, the residual, is then predicted from
features of a frozen network, also fitted to the other plates. The settings of both regressions are
chosen by leaving out each of those other plates. Nothing is trained.

Features are differences from the untreated wells of the plate, on the readout day and since dosing,
whitened by the covariance of untreated wells.

The first row of a table is Spearman's correlation of the kill predicted from measures with the true
kill, over all treated wells of a mechanism on all plates. Each other row is the gain of the
correlation when the predicted residual is added, and in brackets the 95 % quantile of the gain when
the residuals are exchanged at random between the wells of each plate. The row ``oracle`` uses the
parameters from which the images were drawn as features. A row ``embedding`` uses the embedding of a
bundle as the service computes it: of a field of 900 µm around the centre of the image.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
from scipy.stats import spearmanr

from benchmarks.frozen_features import DIFFERENCE, PLANE, frozen_encoder, frozen_segmenter
from benchmarks.laboratory_bundles import encoder_bundles
from benchmarks.observed_plates import ROOT
from inference.tissue.onnx_segmenter import load_segmenter, shipped_segmenter
from simulation.kinds import HiddenMechanism, RendererName
from simulation.laboratories.laboratory import LaboratoryMicroscope, draw_laboratory
from simulation.microscope import NO_MECHANISM
from training.evaluation.kernel_regression import (
    candidate_settings,
    differences_from_untreated,
    fit_regression,
    gram_matrix,
    kernel_matrix,
    left_out_percent,
)
from training.evaluation.laboratory_plates import (
    BundleExtractor,
    FeatureExtractor,
    LaboratoryPlate,
    StageTimes,
    observe_plates,
)

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.int64]

RENDERERS = (RendererName.GROWING_FRONT, RendererName.PACKED_CELLS)
FIRST_SEED = 7_000
SHRINKAGE = 0.1
"""Share of the mean variance that is added to the variance of each direction before whitening."""
ALL, HIDDEN, ORACLE, EMBEDDING = "all", "hidden", "oracle", "embedding"


@dataclass(frozen=True, eq=False)
class Wells:
    """All wells of the plates of one renderer, plate by plate."""

    plates: Numbers  # (wells,) number of the plate
    percent: Array  # (wells,) true kill in percent
    mechanisms: npt.NDArray[np.str_]  # (wells,)

    @classmethod
    def of_plates(cls, plates: Sequence[LaboratoryPlate]) -> "Wells":
        """Return the wells of plates."""
        return cls(
            np.repeat(np.arange(len(plates)), [len(plate.wells) for plate in plates]),
            100 * np.concatenate([plate.kill for plate in plates]),
            np.array([mechanism for plate in plates for mechanism in plate.mechanisms]),
        )

    def groups(self) -> dict[str, Bools]:
        """Return masks (wells,) of treated wells: all, with a hidden mechanism, each mechanism."""
        treated = self.mechanisms != NO_MECHANISM
        hidden = np.isin(self.mechanisms, list(HiddenMechanism))
        names = [
            *np.unique(self.mechanisms[treated & ~hidden]),
            *np.unique(self.mechanisms[hidden]),
        ]
        return {
            ALL: treated,
            HIDDEN: hidden,
            **{str(name): self.mechanisms == name for name in names},
        }


@dataclass(frozen=True, eq=False)
class Baseline:
    """Kill predicted from measures when one plate is left out of the fit."""

    tested: Bools  # (wells,): wells of the plate
    predicted: Array  # (wells,) percent; of the other plates, without the plate of the well
    residual: Array  # (wells,) true percent less predicted percent; used for the other plates only


def whitened_products(
    features: Sequence[Array], untreated: Sequence[Bools], shrinkage: float = SHRINKAGE
) -> Array:
    """Return the Gram matrix, (wells, wells), of whitened features of plates' wells.

    Differences from the untreated median are scaled by the standard deviation of untreated wells
    and whitened by their covariance, to which a share of the mean variance is added. The mean
    diagonal is 1. Features that do not vary between untreated wells are not used.

    Parameters
    ----------
    features
        (N, 2, D) of each plate, on the dosing day and the readout day.
    untreated
        (N,) of each plate.
    shrinkage
        Share of the mean variance.
    """
    rows = np.concatenate(
        [
            np.concatenate(differences_from_untreated(each, mask), axis=1)
            for each, mask in zip(features, untreated, strict=True)
        ]
    )
    controls = rows[np.concatenate(untreated)]
    spread = np.sqrt(np.mean(controls**2, axis=0))
    varies = spread > 1e-6 * np.sqrt(np.mean(rows**2, axis=0) + np.finfo(float).tiny)
    rows, controls = rows[:, varies] / spread[varies], controls[:, varies] / spread[varies]
    ridge = shrinkage * len(controls)
    inner = np.linalg.solve(
        controls @ controls.T + ridge * np.eye(len(controls)), controls @ rows.T
    )
    products = rows @ rows.T - (rows @ controls.T) @ inner  # Woodbury identity
    return np.asarray(products / np.mean(np.diag(products)))


def fit_measures(plates: Sequence[LaboratoryPlate], wells: Wells) -> list[Baseline]:
    """Return the Baseline of each plate, by kernel ridge regression on the other plates."""
    untreated = [plate.untreated for plate in plates]
    parts = [differences_from_untreated(plate.measures, plate.untreated) for plate in plates]
    baselines = []
    for tested in range(len(plates)):
        training = wells.plates != tested
        others = [number for number in range(len(plates)) if number != tested]
        products = gram_matrix(parts, untreated, others, one_scale=False)
        predicted, best = fit_regression(
            None, products, wells.percent, wells.plates, training, (1.0,)
        )
        left_out = left_out_percent(
            kernel_matrix(products, training, best),
            wells.percent,
            wells.plates,
            training,
            best.strength,
        )
        predicted = np.where(training, left_out, predicted)
        baselines.append(Baseline(~training, predicted, wells.percent - predicted))
    return baselines


def left_out_errors(kernel: Array, targets: Array, plates: Numbers, strength: float) -> Array:
    """Return targets less their prediction by kernel ridge regression on the other plates.

    The regression has no constant. All plates follow from one inverse: the errors of a plate are
    (A⁻¹)ₚₚ⁻¹ (A⁻¹ y)ₚ, where A is the kernel with its ridge.

    Parameters
    ----------
    kernel
        (wells, wells).
    targets
        (wells, C).
    plates
        (wells,) number of the plate of each well.
    strength
        Ridge as a share of the mean diagonal of the kernel.
    """
    inverse = np.linalg.inv(kernel + strength * np.mean(np.diag(kernel)) * np.eye(len(kernel)))
    weights = inverse @ targets
    errors = np.empty_like(targets)
    for plate in np.unique(plates):
        rows = np.flatnonzero(plates == plate)
        errors[rows] = np.linalg.solve(inverse[np.ix_(rows, rows)], weights[rows])
    return errors


def predict_residuals(products: Array, residuals: Array, plates: Numbers, tested: Bools) -> Array:
    """Return the residuals of a tested plate's wells, (tested, C), predicted from features.

    The settings of each column are those of the smallest squared error when each other plate is
    left out once. The prediction is 0 if no settings have a smaller error than 0 has.

    Parameters
    ----------
    products
        (wells, wells) Gram matrix of the features.
    residuals
        (wells, C); those of the tested plate are not used.
    plates
        (wells,) number of the plate of each well.
    tested
        (wells,) True for the wells of the tested plate.
    """
    training = ~tested
    targets = residuals[training]
    smallest = np.mean(targets**2, axis=0)
    best = np.zeros((int(tested.sum()), residuals.shape[1]))
    for settings in candidate_settings((1.0,)):
        kernel = kernel_matrix(products, training, settings)
        own, strength = kernel[np.ix_(training, training)], settings.strength
        errors = np.mean(left_out_errors(own, targets, plates[training], strength) ** 2, axis=0)
        better = errors < smallest
        smallest[better] = errors[better]
        if better.any():
            ridge = strength * np.mean(np.diag(own)) * np.eye(len(own))
            weights = np.linalg.solve(own + ridge, targets[:, better])
            best[:, better] = kernel[np.ix_(tested, training)] @ weights
    return best


def exchange_within_plates(residual: Array, plates: Numbers, permutations: int, seed: int) -> Array:
    """Return (wells, 1 + permutations): residuals, and these exchanged within each plate."""
    rng = np.random.default_rng(seed)
    columns = np.repeat(residual[:, None], 1 + permutations, axis=1)
    for plate in np.unique(plates):
        of_plate = plates == plate
        columns[of_plate, 1:] = rng.permuted(columns[of_plate, 1:], axis=0)
    return columns


def gains(
    products: Array, wells: Wells, baselines: Sequence[Baseline], permutations: int, seed: int = 0
) -> dict[str, Array]:
    """Return (1 + permutations,) gains of Spearman's correlation with the kill by group of wells.

    The first value is the gain when the predicted residual is added to the kill that the measures
    predict. The others are gains with residuals that are exchanged within plates.
    """
    predicted = np.empty((len(wells.plates), 1 + permutations))
    from_measures = np.empty(len(wells.plates))
    for baseline in baselines:
        residuals = exchange_within_plates(baseline.residual, wells.plates, permutations, seed)
        tested = baseline.tested
        from_measures[tested] = baseline.predicted[tested]
        predicted[tested] = predict_residuals(products, residuals, wells.plates, tested)
    found = {}
    for name, chosen in wells.groups().items():
        before = correlation(from_measures[chosen], wells.percent[chosen])
        after = [
            correlation((from_measures + column)[chosen], wells.percent[chosen])
            for column in predicted.T
        ]
        found[name] = np.array(after) - before
    return found


def measures_correlations(wells: Wells, baselines: Sequence[Baseline]) -> dict[str, float]:
    """Return Spearman's correlation of the kill predicted from measures, by group of wells."""
    predicted = np.sum([np.where(each.tested, each.predicted, 0.0) for each in baselines], axis=0)
    return {
        name: correlation(predicted[chosen], wells.percent[chosen])
        for name, chosen in wells.groups().items()
    }


def correlation(one: Array, other: Array) -> float:
    """Return Spearman's correlation, 0 if one of the arrays is constant or has no values."""
    if not one.size or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)


def feature_sets(names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the names of features to use together, by the name of a row.

    There is a row for each network and depth, for one kind of input at all depths, and for all
    features of the network. The embedding of an encoder bundle has a row of its own.
    """
    sets: dict[str, list[str]] = {}
    for name in names:
        network, *place = name.split("/")
        for part in (*place, ALL) if place else (EMBEDDING,):
            sets.setdefault(f"{network} {part}", []).append(name)
    order = {PLANE: 1, DIFFERENCE: 2, ALL: 3, EMBEDDING: 4}
    ordered = sorted(sets, key=lambda row: (row.split()[0], order.get(row.split()[1], 0)))
    return {row: tuple(sets[row]) for row in ordered}


def all_products(plates: Sequence[LaboratoryPlate]) -> dict[str, Array]:
    """Return the Gram matrix of each set of features, the oracle last."""
    untreated = [plate.untreated for plate in plates]
    single = {
        name: whitened_products([plate.features[name] for plate in plates], untreated)
        for name in plates[0].features
    }
    found = {
        row: np.mean([single[name] for name in names], axis=0)
        for row, names in feature_sets(list(single)).items()
    }
    found[ORACLE] = whitened_products([plate.parameters for plate in plates], untreated)
    return found


def print_table(plates: Sequence[LaboratoryPlate], permutations: int, times: StageTimes) -> None:
    """Print the table of one renderer's plates."""
    wells = Wells.of_plates(plates)
    with times.stage("regression"):
        baselines = fit_measures(plates, wells)
        products = all_products(plates)
    groups = wells.groups()
    print(f"{'':<24}" + "".join(f"{name:>15}" for name in groups))
    print(f"{'treated wells':<24}" + "".join(f"{int(mask.sum()):>15}" for mask in groups.values()))
    known = measures_correlations(wells, baselines)
    _print_row("measures", [f"{each:.2f}" for each in known.values()])
    for row, matrix in products.items():
        with times.stage("regression"):
            found = gains(matrix, wells, baselines, permutations)
        _print_row(
            row,
            [
                f"{values[0]:+.2f} ({np.quantile(values[1:], 0.95):+.2f})"
                for values in found.values()
            ],
        )


def _print_row(name: str, values: Sequence[str]) -> None:
    print(f"{name:<24}" + "".join(f"{value:>15}" for value in values), flush=True)


def make_networks(out: Path) -> list[FeatureExtractor]:
    """Return the frozen networks, and the encoders as the service uses them.

    The bundle with random weights is created in a folder if it is absent.
    """
    bundles = encoder_bundles(out)
    return [
        *(frozen_encoder(name, bundle) for name, bundle in bundles.items()),
        frozen_segmenter("segmenter", load_segmenter(shipped_segmenter())),
        *(BundleExtractor(name, bundle) for name, bundle in bundles.items()),
    ]


def plan_plates(
    renderer: RendererName, seeds: Sequence[int], plates: int, size_px: int
) -> list[LaboratoryMicroscope]:
    """Return the microscopes of the plates of laboratories with one renderer."""
    return [
        scope
        for seed in seeds
        for scope in draw_laboratory(seed, renderer).plates(plates, size_px=size_px)
    ]


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "residual", help="cache")
    parser.add_argument("--laboratories", type=int, default=3, help="of each renderer")
    parser.add_argument("--plates", type=int, default=4, help="of each laboratory")
    parser.add_argument("--wells", type=int, default=60, help="of each plate")
    parser.add_argument("--size", type=int, default=512, help="side of an image in pixels")
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the first laboratory")
    return parser.parse_args()


def main() -> None:
    """Print one table for each renderer."""
    options = parse_options()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    networks, times = make_networks(options.out), StageTimes()
    seeds = range(options.seed, options.seed + options.laboratories)
    for renderer in RENDERERS:
        scopes = plan_plates(renderer, seeds, options.plates, options.size)
        print(
            f"\n{renderer}: {len(scopes)} plates of {options.wells} wells, laboratories "
            f"{seeds[0]} to {seeds[-1]}, {options.size} px, {options.permutations} permutations"
        )
        plates = observe_plates(scopes, networks, options.out, times, wells=options.wells)
        print_table(plates, options.permutations, times)
    print(f"\ntime: {times}")


if __name__ == "__main__":
    main()
