"""The result of the evaluation of one encoder as a JSON file: metrics and points of the charts."""

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.errors import OutputError


class ChartPoints(BaseModel):
    """Values of the treated wells of mixed plates, in lists of equal length."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kill_percent: tuple[float, ...]
    uncalibrated: tuple[float | None, ...]  # score in untreated spreads; None without one
    calibrated: tuple[float | None, ...]  # predicted percent of deterioration
    # First and second principal component of the difference from the median untreated well.
    across: tuple[float, ...]
    up: tuple[float, ...]


class EncoderRow(BaseModel):
    """The metrics of one encoder."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[3] = 3  # of the computation; a row of another version is computed again
    name: str
    encoder_id: str
    evaluated_on: str  # digest of the evaluation images
    kind: Literal["encoder", "joined", "measures"]
    dimension: int
    ranking_weight: float  # of the bundle when the row was computed
    numbers: dict[str, float | None]
    points: ChartPoints

    @property
    def weight_proposal(self) -> str:
        """Return a line with the proposed ranking weight and its reason; "" for the measures."""
        names = ("", "_low", "_plates")
        gain, low, plates = (self.numbers.get(f"embedding_gain{name}") for name in names)
        proposed = self.numbers.get("proposed_ranking_weight")
        if gain is None or low is None or plates is None or proposed is None:
            return ""
        meaning = "use" if proposed else "do not use"
        return (
            f"{self.name}: ranking_weight is {self.ranking_weight:g}, proposed {proposed:g} "
            f"({meaning} the embedding): beside the measures it changes the correlation with the "
            f"true kill by {gain:+.3f} on average over {plates:.0f} plates, at least {low:+.3f} "
            "with 95 % confidence"
        )

    def known_numbers(self) -> dict[str, float]:
        """Return the metrics by name, with NaN for missing ones."""
        return {name: np.nan if value is None else value for name, value in self.numbers.items()}


def read_row(path: Path, encoder_id: str, evaluated_on: str) -> EncoderRow | None:
    """Return the row of a file, or None if it is of another encoder (id), image set or version."""
    try:
        row = EncoderRow.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return row if (row.encoder_id, row.evaluated_on) == (encoder_id, evaluated_on) else None


def write_text_atomically(path: Path, text: str) -> None:
    """Write text to a path by writing another file and renaming it.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    aside = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        aside.write_text(text, encoding="utf-8")
        aside.rename(path)
    except OSError as error:
        raise OutputError(
            path, f"cannot be written: {error.strerror}; expected a writable folder"
        ) from error
