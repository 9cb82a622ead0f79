"""Notice and model card of a stain bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LICENCE = "BSD-3-Clause"
NOTICE = """\
stain.onnx: a network of SpheroRank, trained from random weights.
Licence: BSD-3-Clause. It contains no weights of others.
"""

CARD_TEMPLATE = """\
# Predicted stain

A small U-Net that predicts the share of dead cells in tissue from its bright-field image. A
prediction is not a measurement of a stain.

- Made by: `spherorank train stain`, {steps} steps, seed {seed}.
- Trained on: {images}.
- Input: optical density of the sharpest plane and the tissue found by the segmenter, in a square
  around the tissue, {side_px} × {side_px} pixels.
- Validated on the last wells, which were not trained on: mean absolute error of the dead share
  {validation_error:.3f}; a prediction that is the same for all wells has {constant_error:.3f}.
- Uncertainty: standard deviation over eight orientations of the image. It is a lower bound of the
  error, because an error that all orientations share is not in it.
- Use: `stain.bundle` of the service. For research use only.
- Limits: cells that have left the well are not in the image, so their death is not predicted.
  Tissue whose look differs from the training may be predicted wrongly with a small standard
  deviation.
"""


@dataclass(frozen=True)
class Origin:
    """The training images of a stain network, and its error on the validation wells."""

    count: int  # wells, those of the validation included
    renderers: Sequence[str]  # of the simulated laboratories
    table: Path | None  # of stained wells; None: the wells are simulated
    validation_error: float  # mean absolute error of the dead share, 0…1
    constant_error: float  # the same of the median of the training wells

    @property
    def images(self) -> str:
        """The training images as text."""
        if self.table is not None:
            return f"{self.count} stained wells of {self.table.name}"
        return (
            f"{self.count} wells of simulated laboratories (renderers: "
            f"{', '.join(self.renderers)}), whose tissue has one dead share in all places"
        )


def model_card(origin: Origin, *, seed: int, steps: int, side_px: int) -> str:
    """Return the model card of a stain bundle in Markdown."""
    return CARD_TEMPLATE.format(
        seed=seed,
        steps=steps,
        images=origin.images,
        side_px=side_px,
        validation_error=origin.validation_error,
        constant_error=origin.constant_error,
    )
