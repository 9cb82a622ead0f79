"""Evaluate a readout on a laboratory whose renderer and one mechanism were left out of all choices.

Each laboratory is tested once. The training laboratories of a test are those of other renderers,
without the wells of the left-out mechanism. All choices are made on them: the settings of the
departure, and the model of the calibration on other laboratories. The left-out mechanism is also
missing from the assays of the tested laboratory. Scores are computed by the code of the service.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from inference.departure.departure_settings import DepartureSettings
from inference.departure.departures import measure_departures
from inference.deterioration.calibration import KERNEL, AssayPlate, calibrate, refit
from inference.deterioration.models import MODELS
from inference.ranking.plate_ranking import rank_plate
from schemas.calibration import CalibrationCard
from schemas.forecast import MetricName
from schemas.trajectory import Representation
from simulation.kinds import HiddenMechanism, RendererName
from simulation.laboratories.laboratory import Laboratory
from simulation.microscope import NO_MECHANISM
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from training.evaluation.laboratory_plates import LaboratoryPlate

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

CANDIDATES = tuple(
    DepartureSettings(forecaster=forecaster, metric=metric)
    for forecaster in ("ridge", "persistence", "mean")
    for metric in (MetricName.MAHALANOBIS, MetricName.L2, MetricName.NEAREST_CONTROLS)
)
"""Settings of the departure from which the training laboratories choose."""
INNER_PLATES = 2
"""Number of plates of each training laboratory on which choices are made."""
MIN_WELLS = 4
"""Smallest number of wells of a plate for a correlation."""
ASSAY_NOISE_POINTS = 3.0
"""Standard deviation of a simulated assay, in percentage points."""
MIXED, HIDDEN, LEFT_OUT = "mixed", "hidden", "left_out"
UNCALIBRATED, TRANSFERRED = "none", "other laboratories"
_SEED = 1


@dataclass(frozen=True)
class Fold:
    """One test: the tested laboratory, and the laboratories on which choices are made."""

    tested: int  # index of the laboratory
    training: tuple[int, ...]  # indices of laboratories with other renderers
    renderer: RendererName  # of the tested laboratory, of no training laboratory
    mechanism: str  # left out


@dataclass(frozen=True)
class Reading:
    """Features that a readout uses."""

    encoder: str  # "" for the measures alone
    representation: Representation

    @property
    def name(self) -> str:
        """Name in the table."""
        return f"{self.encoder} {self.representation}".strip()

    @property
    def models(self) -> tuple[str, ...]:
        """Models of the service's calibration with these features."""
        return tuple(MODELS) if self.representation == "measures" else (KERNEL,)


@dataclass(frozen=True)
class Choices:
    """Choices that were made on the training laboratories of a fold, for one reading."""

    settings: DepartureSettings
    model: str  # of :attr:`Reading.models`, for the calibration on other laboratories


@dataclass(frozen=True)
class Result:
    """Spearman's correlation of scores with the true kill on the tested plates of a laboratory."""

    laboratory: int  # seed
    renderer: str
    reading: str
    assays: str  # UNCALIBRATED, TRANSFERRED, or the number of assay plates
    group: str  # MIXED, HIDDEN, LEFT_OUT or a mechanism
    by_plate: tuple[float, ...]
    """Correlation on each tested plate; NaN on a plate with too few wells of the group."""

    @property
    def value(self) -> float:
        """Mean correlation over the tested plates that have wells of the group."""
        return float(np.nanmean(self.by_plate))


def plan_folds(laboratories: Sequence[Laboratory]) -> list[Fold]:
    """Return one Fold for each laboratory.

    The left-out mechanism is one of the laboratory's own. Among the laboratories of a renderer it
    is in turn the last, the last but one and so on; the hidden mechanisms are the last ones.
    """
    tested_of_renderer: Counter[RendererName] = Counter()
    folds = []
    for number, tested in enumerate(laboratories):
        renderer = tested.renderer_name
        place = tested_of_renderer[renderer] % len(tested.mechanisms)
        tested_of_renderer[renderer] += 1
        folds.append(
            Fold(
                tested=number,
                training=tuple(
                    other
                    for other, laboratory in enumerate(laboratories)
                    if laboratory.renderer_name is not renderer
                ),
                renderer=renderer,
                mechanism=str(tested.mechanisms[-1 - place]),
            )
        )
    return folds


def without_mechanism(plate: LaboratoryPlate, mechanism: str) -> LaboratoryPlate:
    """Return a plate without the wells that were treated by a compound of one mechanism."""
    return plate.select(np.array([each != mechanism for each in plate.mechanisms]))


def well_groups(mechanisms: Sequence[str], left_out: str) -> dict[str, Bools]:
    """Return masks (N,) of the treated wells of a plate by group.

    The groups are all treated wells, those with a hidden mechanism, those of the left-out
    mechanism, and those of each mechanism.
    """
    of_wells = np.array(mechanisms)
    treated = of_wells != NO_MECHANISM
    return {
        MIXED: treated,
        HIDDEN: np.isin(of_wells, list(HiddenMechanism)),
        LEFT_OUT: of_wells == left_out,
        **{str(name): of_wells == name for name in np.unique(of_wells[treated])},
    }


def kill_correlations(
    scores: Array, plate: LaboratoryPlate, left_out: str = ""
) -> dict[str, float]:
    """Return Spearman's correlation of scores, (N,), with the true kill by group of wells.

    A group with fewer than :data:`MIN_WELLS` scored wells is missing. The correlation is 0 if all
    scores are equal.
    """
    found = {}
    for group, mask in well_groups(plate.mechanisms, left_out).items():
        compared = mask & np.isfinite(scores)
        if compared.sum() >= MIN_WELLS:
            constant = np.ptp(scores[compared]) == 0
            found[group] = (
                0.0
                if constant
                else float(spearmanr(scores[compared], plate.kill[compared]).statistic)
            )
    return found


class Protocol:
    """Choices and results of all laboratories.

    Parameters
    ----------
    laboratories
        Simulated laboratories.
    plates
        Plates of each laboratory; the first ones have assays, the others are tested.
    assays
        Numbers of assay plates to evaluate.
    candidates
        Settings of the departure from which the training laboratories choose.
    """

    def __init__(
        self,
        laboratories: Sequence[Laboratory],
        plates: Sequence[Sequence[LaboratoryPlate]],
        assays: Sequence[int],
        candidates: Sequence[DepartureSettings] = CANDIDATES,
    ) -> None:
        self._laboratories = laboratories
        self._plates = plates
        self._assays = assays
        self._candidates = candidates
        self._inner: dict[
            tuple[int, str, Reading], tuple[Mapping[DepartureSettings, float], Mapping[str, float]]
        ] = {}
        self.fallbacks = 0
        """Number of tested plates whose calibration was not valid, so that they have departures."""

    @cached_property
    def folds(self) -> list[Fold]:
        """One fold for each laboratory."""
        return plan_folds(self._laboratories)

    def choose(self, fold: Fold, reading: Reading) -> Choices:
        """Return the Choices with the highest mean correlation on the training laboratories."""
        scores = [self._inner_scores(place, fold.mechanism, reading) for place in fold.training]
        settings = max(self._candidates, key=lambda each: np.mean([one[each] for one, _ in scores]))
        model = max(reading.models, key=lambda each: np.mean([one[each] for _, one in scores]))
        return Choices(settings, model)

    def _inner_scores(
        self, laboratory: int, mechanism: str, reading: Reading
    ) -> tuple[Mapping[DepartureSettings, float], Mapping[str, float]]:
        """Return the correlations of a training laboratory by settings and by model."""
        key = laboratory, mechanism, reading
        if key not in self._inner:
            plates = [
                without_mechanism(plate, mechanism)
                for plate in self._plates[laboratory][:INNER_PLATES]
            ]
            self._inner[key] = (
                departure_correlations(plates, reading, self._candidates),
                model_correlations(plates, reading),
            )
        return self._inner[key]

    def test(self, fold: Fold, reading: Reading) -> list[Result]:
        """Return the Results of the tested laboratory of a fold."""
        choices = self.choose(fold, reading)
        plates = self._plates[fold.tested]
        assayed = [without_mechanism(each, fold.mechanism) for each in plates[: max(self._assays)]]
        others = [
            without_mechanism(self._plates[place][0], fold.mechanism) for place in fold.training
        ]
        tested = plates[max(self._assays) :]
        departures = [departure_scores(plate, reading, choices.settings) for plate in tested]
        scores = {
            UNCALIBRATED: departures,
            TRANSFERRED: predicted_percent(
                others, tested, reading, named_card(choices.model, reading)
            ),
        }
        for count in self._assays:
            card = chosen_card(assayed[:count], reading)
            if card.valid:
                scores[str(count)] = predicted_percent(assayed[:count], tested, reading, card)
            else:
                self.fallbacks += len(tested)
                scores[str(count)] = departures
        laboratory = self._laboratories[fold.tested]
        return [
            Result(laboratory.seed, laboratory.renderer_name, reading.name, name, group, values)
            for name, of_plates in scores.items()
            for group, values in _correlations_by_group(of_plates, tested, fold.mechanism).items()
        ]


def _correlations_by_group(
    scores: Sequence[Array], plates: Sequence[LaboratoryPlate], left_out: str
) -> dict[str, tuple[float, ...]]:
    """Return the correlation on each plate by group of wells, NaN where it is missing."""
    found = [
        kill_correlations(of_plate, plate, left_out)
        for of_plate, plate in zip(scores, plates, strict=True)
    ]
    groups = dict.fromkeys(group for of_plate in found for group in of_plate)
    return {group: tuple(each.get(group, np.nan) for each in found) for group in groups}


def departure_scores(
    plate: LaboratoryPlate, reading: Reading, settings: DepartureSettings
) -> Array:
    """Return the service's uncalibrated score of each well, (N,), NaN without a score."""
    table = rank_plate(
        plate.trajectories(reading.representation, reading.encoder),
        dosing_day=DOSED_ON_DAY,
        readout_day=READOUT_DAY,
        seed=_SEED,
        settings=settings,
    )
    scores = {well.well: well.score for well in table.wells if well.score is not None}
    return np.array([scores.get(well, np.nan) for well in plate.wells])


def departure_correlations(
    plates: Sequence[LaboratoryPlate],
    reading: Reading,
    candidates: Sequence[DepartureSettings] = CANDIDATES,
) -> dict[DepartureSettings, float]:
    """Return the mean correlation over plates by candidate settings of the departure."""
    values: dict[DepartureSettings, list[float]] = {each: [] for each in candidates}
    for plate in plates:
        trajectories = plate.trajectories(reading.representation, reading.encoder)
        measured = {
            settings: measure_departures(
                trajectories, dosing_day=DOSED_ON_DAY, day=READOUT_DAY, settings=settings
            )
            for settings in dict.fromkeys(_without_metric(each) for each in candidates)
        }
        for each, of_candidate in values.items():
            scores = measured[_without_metric(each)].by_metric[each.metric]
            of_candidate.append(kill_correlations(scores, plate)[MIXED])
    return {each: float(np.mean(of_plates)) for each, of_plates in values.items()}


def _without_metric(settings: DepartureSettings) -> DepartureSettings:
    """Return settings with the default metric: one measurement has the values of all metrics."""
    return replace(settings, metric=DepartureSettings.metric)


def model_correlations(plates: Sequence[LaboratoryPlate], reading: Reading) -> dict[str, float]:
    """Return the correlation on the second plate by the model that is fitted to the first plate."""
    return {
        model: kill_correlations(
            predicted_percent(plates[:1], plates[1:2], reading, named_card(model, reading))[0],
            plates[1],
        )[MIXED]
        for model in reading.models
    }


def chosen_card(plates: Sequence[LaboratoryPlate], reading: Reading) -> CalibrationCard:
    """Return the card of the service's calibration on one or more assay plates."""
    return calibrate([assay_plate(plate, reading) for plate in plates], digest="", seed=_SEED)


def named_card(model: str, reading: Reading) -> CalibrationCard:
    """Return the card of a calibration with a given model, without errors on left-out plates."""
    return CalibrationCard(
        digest="",
        version=1,
        encoder_id=reading.encoder,
        representation=reading.representation,
        model=model,
        plates=(),
        wells=0,
        valid=True,
        mean_error_points=None,
        untreated_error_points=None,
        spearman=None,
        worst_spearman=None,
        percent_low=None,
        percent_high=None,
        left_out_percent=(0.0,),
        left_out_error=(0.0,),
    )


def predicted_percent(
    assayed: Sequence[LaboratoryPlate],
    tested: Sequence[LaboratoryPlate],
    reading: Reading,
    card: CalibrationCard,
) -> list[Array]:
    """Return the percent of deterioration, (N,) of each tested plate, by a calibration."""
    model = refit([assay_plate(plate, reading) for plate in assayed], card, seed=_SEED)
    return [
        model.predict(
            plate.trajectories(reading.representation, reading.encoder),
            dosing_day=DOSED_ON_DAY,
            readout_day=READOUT_DAY,
        ).percent
        for plate in tested
    ]


def assay_plate(plate: LaboratoryPlate, reading: Reading) -> AssayPlate:
    """Return a plate with its simulated assay; the noise of a plate is always the same."""
    name = [ord(character) for character in plate.name]
    noise = np.random.default_rng(name).normal(0, ASSAY_NOISE_POINTS, len(plate.wells))
    percent = 100 * plate.kill + noise
    return AssayPlate(
        plate.trajectories(reading.representation, reading.encoder),
        dict(zip(plate.wells, percent.tolist(), strict=True)),
        DOSED_ON_DAY,
        READOUT_DAY,
    )
