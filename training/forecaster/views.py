"""What a forecaster is shown of an untreated plate, and what it is to foresee: one view is some of the wells, the days up to one, and a day after it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from schemas.errors import ConfigError
from schemas.trajectory import Trajectories
from training.forecaster.data import FEWEST_WELLS

FEWEST_SHARE = 0.5  # of the wells that a view shows


@dataclass(frozen=True)
class View:
    """T days of N wells, and the day to be foreseen; NaN where there is no image."""

    features: torch.Tensor  # (N, T, D) float32
    days: torch.Tensor  # (T,) float32
    readout_day: torch.Tensor  # () float32
    readout: torch.Tensor  # (N, D) float32

    def to(self, device: torch.device) -> "View":
        """Return it on another device."""
        return View(
            *(
                part.to(device)
                for part in (self.features, self.days, self.readout_day, self.readout)
            )
        )


def split_by_plate(
    plates: Sequence[Trajectories], share: float, seed: int
) -> tuple[list[Trajectories], list[Trajectories]]:
    """Return the plates to learn from and those to be held to; plates of one name stay together."""
    names = sorted({plate.plate for plate in plates})
    if len(names) < 2:  # noqa: PLR2004 - one to learn from, one to be held to
        raise ConfigError("data", f"all plates are named {names[0]}; expected two or more")
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    held_out = set(np.random.default_rng(seed).permutation(names)[:count].tolist())
    return [plate for plate in plates if plate.plate not in held_out], [
        plate for plate in plates if plate.plate in held_out
    ]


class Views(Dataset[View]):  # type: ignore[misc] # torch is not typed here
    """Views of plates, the same for the same seed and epoch: a run that goes on sees what it would have seen."""

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
        """Return how many there are."""
        return len(self._order)

    def __getitem__(self, place: int) -> View:
        """Return one."""
        rng = np.random.default_rng([*self._key, 1, place])
        plate = self._plates[int(self._order[place])]
        count = int(
            rng.integers(
                max(FEWEST_WELLS, round(FEWEST_SHARE * len(plate.wells))), len(plate.wells) + 1
            )
        )
        wells = rng.choice(len(plate.wells), count, replace=False)
        cut = int(rng.integers(1, len(plate.days)))
        first, target = int(rng.integers(0, cut)), int(rng.integers(cut, len(plate.days)))
        past = plate.features[wells, first:cut].copy()
        past[rng.random(past.shape[:2]) < self._missing] = np.nan
        return _view(past, plate.days[first:cut], plate.days[target], plate.features[wells, target])


def held_out_views(plates: Sequence[Trajectories]) -> Iterator[View]:
    """Yield, of each plate, each day foreseen from all days up to each day before it."""
    for plate in plates:
        for cut in range(1, len(plate.days)):
            for target in range(cut, len(plate.days)):
                yield _view(
                    plate.features[:, :cut],
                    plate.days[:cut],
                    plate.days[target],
                    plate.features[:, target],
                )


def _view(past: np.ndarray, days: Sequence[int], readout_day: int, readout: np.ndarray) -> View:
    tensors = (past, np.array(days), np.array(readout_day), readout)
    return View(*(torch.from_numpy(np.asarray(each, dtype=np.float32)) for each in tensors))
