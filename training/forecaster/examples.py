"""Training examples of a forecaster: some wells and days of an untreated plate, and a later day."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from schemas.errors import ConfigError
from schemas.trajectory import Trajectories
from training.forecaster.trajectories import FEWEST_WELLS, select_wells

MIN_WELL_SHARE = 0.5
"""Smallest share of the wells of a plate that an example has."""


@dataclass(frozen=True)
class ForecastExample:
    """Features of N wells on T days, and on the day to predict; NaN without an image."""

    features: torch.Tensor  # (N, T, D) float32
    days: torch.Tensor  # (T,) float32
    readout_day: torch.Tensor  # () float32
    readout: torch.Tensor  # (N, D) float32, on the readout day
    seed: int  # of the random numbers of an objective, so that a repeated example has the same

    def to(self, device: torch.device) -> "ForecastExample":
        """Return the example with its tensors on a device."""
        return ForecastExample(
            self.features.to(device),
            self.days.to(device),
            self.readout_day.to(device),
            self.readout.to(device),
            self.seed,
        )


def split_trajectories_by_plate(
    plates: Sequence[Trajectories], share: float, seed: int
) -> tuple[list[Trajectories], list[Trajectories]]:
    """Return the Trajectories for training and those for validation, a ``share`` of plate names.

    Plates of one name are in the same list.

    Parameters
    ----------
    share
        Share of the plate names for validation; at least one name is in each list.

    Raises
    ------
    ConfigError
        If all plates have one name.
    """
    names = sorted({plate.plate for plate in plates})
    if len(names) < 2:  # noqa: PLR2004 - one for training, one for validation
        raise ConfigError("data", f"all plates are named {names[0]}; expected two or more names")
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    chosen = set(np.random.default_rng(seed).permutation(names)[:count].tolist())
    return [plate for plate in plates if plate.plate not in chosen], [
        plate for plate in plates if plate.plate in chosen
    ]


def select_trajectories(
    plates: Sequence[Trajectories], count: int, seed: int
) -> list[Trajectories]:
    """Return Trajectories with ``count`` wells in all, of plates in random order.

    The last plate has only some of its wells. If they would be fewer than :data:`FEWEST_WELLS`,
    the plate is left out, and the result has fewer wells than ``count``.

    Raises
    ------
    ConfigError
        If the plates have fewer wells, or ``count`` is smaller than :data:`FEWEST_WELLS`.
    """
    available = sum(len(plate.wells) for plate in plates)
    if not FEWEST_WELLS <= count <= available:
        raise ConfigError(
            "data.trajectories",
            f"is {count}; expected 0 for all, or {FEWEST_WELLS} to {available}, "
            "the untreated wells of the training plates",
        )
    rng = np.random.default_rng([seed, count])
    selected: list[Trajectories] = []
    for place in np.random.default_rng(seed).permutation(len(plates)):
        plate = plates[place]
        wells = rng.permutation(len(plate.wells))[:count]
        if len(wells) < FEWEST_WELLS:
            break
        selected.append(select_wells(plate, sorted(wells.tolist())))
        count -= len(wells)
    return selected


class ForecastExamples(Dataset[ForecastExample]):  # type: ignore[misc] # torch is not typed here
    """Random examples of plates, the same for the same seed and epoch.

    So a continued training gets the examples that it would have had without the stop.

    Parameters
    ----------
    each
        Number of examples of each plate.
    missing
        Share of the images of an example that are hidden.
    """

    def __init__(
        self, plates: Sequence[Trajectories], seed: int, epoch: int, each: int, missing: float
    ) -> None:
        self._plates = plates
        self._key = seed, epoch
        self._missing = missing
        self._order = np.random.default_rng([seed, epoch]).permutation(
            np.repeat(np.arange(len(plates)), each)
        )

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self._order)

    def __getitem__(self, place: int) -> ForecastExample:
        """Return the example at a place of the epoch."""
        rng = np.random.default_rng([*self._key, 1, place])
        plate = self._plates[int(self._order[place])]
        fewest = max(FEWEST_WELLS, round(MIN_WELL_SHARE * len(plate.wells)))
        count = int(rng.integers(fewest, len(plate.wells) + 1))
        wells = rng.choice(len(plate.wells), count, replace=False)
        cut = int(rng.integers(1, len(plate.days)))
        first, target = int(rng.integers(0, cut)), int(rng.integers(cut, len(plate.days)))
        past = plate.features[wells, first:cut].copy()
        past[rng.random(past.shape[:2]) < self._missing] = np.nan
        return _make_example(
            past,
            plate.days[first:cut],
            plate.days[target],
            plate.features[wells, target],
            int(rng.integers(2**31)),
        )


def all_examples(plates: Sequence[Trajectories]) -> Iterator[ForecastExample]:
    """Yield each plate's ForecastExample of every last input day and every later day to predict."""
    for plate in plates:
        for cut in range(1, len(plate.days)):
            for target in range(cut, len(plate.days)):
                yield _make_example(
                    plate.features[:, :cut],
                    plate.days[:cut],
                    plate.days[target],
                    plate.features[:, target],
                    seed=cut * len(plate.days) + target,
                )


def _make_example(
    past: np.ndarray, days: Sequence[int], readout_day: int, readout: np.ndarray, seed: int
) -> ForecastExample:
    features, all_days, day, after = (
        torch.from_numpy(np.asarray(each, dtype=np.float32))
        for each in (past, days, readout_day, readout)
    )
    return ForecastExample(features, all_days, day, after, seed)
