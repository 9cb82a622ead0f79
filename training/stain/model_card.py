"""Notice and model card of a stain bundle."""

from collections.abc import Sequence

LICENCE = "BSD-3-Clause"
NOTICE = """\
stain.onnx: a network of SpheroRank, trained on virtual plates from random weights.
Licence: BSD-3-Clause. It contains no weights and no images of others.
"""

CARD_TEMPLATE = """\
# Predicted stain

A small U-Net that predicts the share of dead cells in tissue from its bright-field image. A
prediction is not a measurement of a stain.

- Made by: `spherorank train stain`, {steps} steps, seed {seed}.
- Trained on: {images} wells of simulated laboratories (renderers: {renderers}) with known dead
  cells. The dead share is the same in all places of a simulated tissue. No real image was used.
- Input: optical density of the sharpest plane and the tissue found by the segmenter, in a square
  around the tissue, {side_px} × {side_px} pixels.
- Validated on wells of other simulated laboratories with the same renderers: mean absolute error
  of the dead share {validation_error:.3f}.
- Uncertainty: standard deviation over eight orientations of the image. It is a lower bound of the
  error, because an error that all orientations share is not in it.
- Use: `stain.bundle` of the service. For research use only.
- Limits: cells that have left the well are not in the image, so their death is not predicted.
  Tissue whose look differs from the simulation may be predicted wrongly with a small standard
  deviation.
"""


def model_card(
    *,
    seed: int,
    steps: int,
    images: int,
    side_px: int,
    renderers: Sequence[str],
    validation_error: float,
) -> str:
    """Return the model card of a stain bundle in Markdown."""
    return CARD_TEMPLATE.format(
        seed=seed,
        steps=steps,
        images=images,
        side_px=side_px,
        renderers=", ".join(renderers),
        validation_error=validation_error,
    )
