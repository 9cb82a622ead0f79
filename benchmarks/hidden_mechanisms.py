"""Measure how much of the kill by hidden mechanisms the measures of tissue show.

    python -m benchmarks.hidden_mechanisms --laboratories 1

For every renderer with hidden mechanisms and every hidden mechanism, nine plates of a laboratory
are rendered, on which all compounds have this mechanism. The measures that a ranking compares, on
the dosing day and the readout day, predict the kill of each plate by kernel ridge regression that
is fitted to the assays of the other eight (:mod:`training.evaluation.kernel_regression`). The
columns give Spearman's correlation with the true kill over the treated wells, as the mean over
plates:

measures    the predicted kill
statistic   one statistic of the image, made for the mechanism, in the true mask
parameter   the parameter of the renderer from which the mechanism is drawn

A mechanism is hidden if the measures reach at most 0.3 and the parameter at least 0.9.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import ranked_values
from simulation.kinds import HiddenMechanism, RendererName
from simulation.laboratories.laboratory import (
    Laboratory,
    LaboratoryMicroscope,
    draw_laboratory,
)
from simulation.microscope import RenderedWell
from simulation.optics import PLANES
from simulation.plate import DOSED_ON_DAY, READOUT_DAY, WellPlan, select_wells
from training.evaluation.kernel_regression import (
    differences_from_untreated,
    fit_regression,
    gram_matrix,
)

FIRST_SEED = 9_000  # of the laboratories
PLATES, WELLS, SIZE_PX = 9, 15, 256
_ASSAY_SPREAD = 5.0  # standard deviation of the viability, percent
_MARGIN_UM, _FINE_UM, _MIDDLE_UM, _LOCAL_UM = 12.0, 2.5, 10.0, 25.0

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class MeasuredPlate:
    """N wells of a plate on which all compounds have one hidden mechanism."""

    kill: Array  # (N,)
    untreated: npt.NDArray[np.bool_]  # (N,)
    measures: Array  # (N, 2, M): ranked measures on the dosing day and the readout day
    statistic: Array  # (N,) of the image on the readout day
    parameter: Array  # (N,) of the renderer on the readout day


def measured_values(scope: LaboratoryMicroscope, rendered: RenderedWell) -> Array:
    """Return the ranked measures, (M,), of the middle plane of a rendered well."""
    plane = rendered.planes[PLANES // 2]
    scaled = (plane.astype(np.uint32) * 65535 // scope.conditions.white).astype(np.uint16)
    segmentation = ClassicalSegmenter().segment(scaled, scope.um_per_px)
    return ranked_values(measure_tissue(scaled, segmentation, scope.um_per_px))


def image_statistic(mechanism: HiddenMechanism, rendered: RenderedWell, um_per_px: float) -> float:
    """Return a statistic of the middle plane that increases with a hidden mechanism.

    It is the alignment of gradients (with one another, or with the radius), the asymmetry of the
    optical density, or the unevenness of its variance, in the mask without its margin.
    """
    density = -np.log(np.maximum(rendered.planes[PLANES // 2].astype(np.float32), 1.0))
    depth = cv2.distanceTransform(rendered.mask.astype(np.uint8), cv2.DIST_L2, 5)
    inside = depth * um_per_px > min(_MARGIN_UM, 0.3 * float(depth.max()) * um_per_px)
    fine, middle = (
        cv2.GaussianBlur(density, (0, 0), um / um_per_px) for um in (_FINE_UM, _MIDDLE_UM)
    )
    grain = fine - middle
    if mechanism is HiddenMechanism.INVERTING:
        values = (grain - grain[inside].mean())[inside]
        return float(-np.mean(values**3) / np.mean(values**2) ** 1.5)
    if mechanism is HiddenMechanism.GATHERING:
        local = cv2.GaussianBlur(grain * grain * inside, (0, 0), _LOCAL_UM / um_per_px)
        cover = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), _LOCAL_UM / um_per_px)
        variance = (local / np.maximum(cover, 1e-6))[inside]
        return float(variance.std() / variance.mean())
    gradient = (cv2.Sobel(grain, cv2.CV_32F, 1, 0) + 1j * cv2.Sobel(grain, cv2.CV_32F, 0, 1)) ** 2
    if mechanism is HiddenMechanism.LAYERING:
        rows, columns = np.nonzero(rendered.mask)
        y, x = np.indices(density.shape)
        radius = (x - columns.mean()) + 1j * (y - rows.mean())
        gradient = gradient / np.maximum(np.abs(radius), 1.0) ** 2 * np.conj(radius) ** 2
        return float(gradient[inside].sum().real / np.abs(gradient[inside]).sum())
    return float(np.abs(gradient[inside].sum()) / np.abs(gradient[inside]).sum())


def dosing_day_measures(laboratory: Laboratory) -> list[dict[str, Array]]:
    """Return for each plate the ranked measures by well on the dosing day.

    They do not depend on the mechanism, because the images precede the dose.
    """
    found = []
    for scope in laboratory.plates(PLATES, size_px=SIZE_PX, mechanism=HiddenMechanism.ALIGNING):
        wells = select_wells(scope.plate, WELLS).wells
        found.append(
            {plan.well: measured_values(scope, scope.render(plan, DOSED_ON_DAY)) for plan in wells}
        )
    return found


def measure_plate(
    scope: LaboratoryMicroscope, mechanism: HiddenMechanism, before: dict[str, Array]
) -> MeasuredPlate:
    """Return the MeasuredPlate of a microscope, with the measures by well on the dosing day."""
    plans: Sequence[WellPlan] = select_wells(scope.plate, WELLS).wells
    measures, statistic = [], []
    for plan in plans:
        rendered = scope.render(plan, READOUT_DAY)
        measures.append(np.stack([before[plan.well], measured_values(scope, rendered)]))
        statistic.append(image_statistic(mechanism, rendered, scope.um_per_px))
    return MeasuredPlate(
        kill=np.array([plan.kill(READOUT_DAY) for plan in plans]),
        untreated=np.array([plan.mechanism is None for plan in plans]),
        measures=np.stack(measures),
        statistic=np.array(statistic),
        parameter=np.array([scope.spheroid(plan, READOUT_DAY).order[mechanism] for plan in plans]),
    )


def predicted_kill(plates: Sequence[MeasuredPlate], tested: int, seed: int) -> Array:
    """Return the kill of a plate's wells, (N,) percent, by its measures and the other plates."""
    untreated = [plate.untreated for plate in plates]
    parts = [differences_from_untreated(plate.measures, plate.untreated) for plate in plates]
    others = [number for number in range(len(plates)) if number != tested]
    numbers = np.repeat(np.arange(len(plates)), [len(plate.kill) for plate in plates])
    noise = np.random.default_rng(seed).normal(0, _ASSAY_SPREAD, len(numbers))
    percent = 100 * np.concatenate([plate.kill for plate in plates]) + noise
    products = gram_matrix(parts, untreated, others, one_scale=False)
    predicted, _ = fit_regression(None, products, percent, numbers, numbers != tested, (1.0,))
    return np.asarray(predicted[numbers == tested])


def correlations(plates: Sequence[MeasuredPlate], seed: int) -> Array:
    """Return the mean Spearman of the kill with measures, statistic and parameter, (3,)."""
    rows = []
    for number, plate in enumerate(plates):
        treated = ~plate.untreated
        readings = (predicted_kill(plates, number, seed), plate.statistic, plate.parameter)
        rows.append(
            [
                float(np.nan_to_num(spearmanr(each[treated], plate.kill[treated]).statistic))
                for each in readings
            ]
        )
    return np.asarray(np.mean(rows, axis=0))


def main() -> None:
    """Print the correlations, one row per laboratory, renderer and hidden mechanism."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--laboratories", type=int, default=1, help="of each renderer")
    parser.add_argument("--seed", type=int, default=FIRST_SEED, help="of the first laboratory")
    parser.add_argument("--renderer", type=RendererName, help="this one alone")
    arguments = parser.parse_args()
    print(f"{PLATES} plates of {WELLS} wells, {SIZE_PX} px; Spearman with the kill, treated wells")
    print(
        f"{'renderer':<15}{'mechanism':<12}{'seed':>5}{'measures':>10}{'statistic':>11}"
        f"{'parameter':>11}"
    )
    for seed in range(arguments.seed, arguments.seed + arguments.laboratories):
        for name in [arguments.renderer] if arguments.renderer else RendererName:
            laboratory = draw_laboratory(seed, name)
            hidden = laboratory.renderer.hidden_mechanisms
            before = dosing_day_measures(laboratory) if hidden else []
            for mechanism in hidden:
                scopes = laboratory.plates(PLATES, size_px=SIZE_PX, mechanism=mechanism)
                plates = [
                    measure_plate(scope, mechanism, measured)
                    for scope, measured in zip(scopes, before, strict=True)
                ]
                of_measures, of_image, of_parameter = correlations(plates, seed)
                print(
                    f"{name:<15}{mechanism:<12}{seed:>5}{of_measures:>10.2f}{of_image:>11.2f}"
                    f"{of_parameter:>11.2f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
