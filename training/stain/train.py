"""Training of a predicted stain: ``spherorank train stain --out DIR``.

Wells with known dead cells (:mod:`training.stain.training_images`,
:mod:`training.stain.stained_wells`) → a small U-Net (Ronneberger et
al. 2015, doi:10.1007/978-3-319-24574-4_28) of 0.1 million weights → cross-entropy with the dead
share over the tissue → ONNX, compared with torch → a bundle for
:class:`inference.tissue.onnx_stain.OnnxStain`.
"""

import hashlib
import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inference.tissue.onnx_stain import (
    CARD_FILE,
    CHANNELS,
    MODEL_FILE,
    OnnxStain,
    canary_input,
    load_stain,
)
from schemas.errors import ConfigError
from schemas.stain_bundle import StainCard
from simulation.kinds import RendererName
from training.encoder.export import (
    CANARY_SEED,
    INPUT_NAME,
    check_parity,
    export_onnx,
    replace_folder,
)
from training.map_networks import (
    OUTPUT_NAME,
    canary_of,
    conv_block,
    descend,
    expand,
    expanding_path,
    rate_at,
)
from training.stain.model_card import LICENCE, NOTICE, Origin, model_card
from training.stain.stained_wells import read_stained_wells
from training.stain.training_images import Floats, StainExamples, cached_examples, draw_batch

WIDTHS = (12, 16, 24, 32, 48)
MIN_COVER = 0.5  # cover of tissue above which a pixel is in the loss
WARM_UP_STEPS = 20
VALIDATION_SHARE = 0.15
WEIGHT_DECAY = 1e-4


@dataclass(frozen=True)
class StainSettings:
    """The settings that decide the weights of a stain network."""

    seed: int = 0
    steps: int = 600
    batch: int = 16
    images: int = 480
    side_px: int = 128
    peak_rate: float = 3e-3  # largest learning rate
    renderers: tuple[RendererName, ...] = tuple(RendererName)


class StainNet(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A small U-Net from optical density and tissue to log odds that a cell is dead.

    Input (batch, 2, side, side), output (batch, 1, side, side). The finest level has half the side.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(len(CHANNELS), widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList(
            conv_block(above, below) for above, below in itertools.pairwise(widths)
        )
        self.up = expanding_path(widths)
        self.head = nn.Conv2d(widths[0], 4, 3, padding=1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return log odds, (batch, 2, side, side) → (batch, 1, side, side)."""
        features = functional.relu(self.stem(image))  # (batch, 12, side/2, side/2)
        kept = []
        for block in self.down:
            kept.append(features)
            features = block(functional.max_pool2d(features, 2))
        return functional.pixel_shuffle(self.head(expand(self.up, features, kept)), 2)


def stain_loss(
    log_odds: torch.Tensor, inputs: torch.Tensor, dead_share: torch.Tensor
) -> torch.Tensor:
    """Return the mean cross-entropy with the known dead share over the tissue, a scalar.

    Each image has the same weight, whatever the size of its tissue.

    Parameters
    ----------
    log_odds
        (batch, 1, side, side).
    inputs
        (batch, 2, side, side); the second channel is the cover of tissue.
    dead_share
        (batch, side, side) 0…1; NaN where it is unknown.
    """
    known = dead_share[:, None].isfinite()
    tissue = ((inputs[:, 1:] > MIN_COVER) & known).float()
    target = dead_share[:, None].nan_to_num()
    entropy = functional.binary_cross_entropy_with_logits(log_odds, target, reduction="none")
    pixels = tissue.sum(dim=(1, 2, 3)).clamp(min=1)
    return ((entropy * tissue).sum(dim=(1, 2, 3)) / pixels).mean()


def fit_stain(
    examples: StainExamples,
    settings: StainSettings,
    report_step: Callable[[int, float], None] = lambda _step, _loss: None,
) -> StainNet:
    """Train a network on examples and return it in evaluation mode.

    Parameters
    ----------
    report_step
        Called after each step with its number and its loss.
    """
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng(settings.seed)
    model = StainNet()
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.peak_rate, weight_decay=WEIGHT_DECAY
    )
    model.train()
    for step in range(settings.steps):
        inputs, shares = map(torch.from_numpy, draw_batch(examples, rng, settings.batch))
        loss = stain_loss(model(inputs), inputs, shares)
        rate = rate_at(step, settings.steps, settings.peak_rate, WARM_UP_STEPS)
        descend(model, optimiser, loss, rate)
        report_step(step, loss.item())
    model.eval()
    return model


def mean_shares(model: nn.Module, examples: StainExamples) -> tuple[Floats, Floats]:
    """Return (predicted, true) dead shares, (n,) each, as means over the tissue of examples."""
    with torch.inference_mode():
        parts = torch.from_numpy(examples.inputs).split(32)
        likely = torch.cat([model(part).sigmoid()[:, 0] for part in parts]).numpy()
    used = (examples.inputs[:, 1] > MIN_COVER) & np.isfinite(examples.dead_share)
    pixels = np.maximum(used.sum(axis=(1, 2)), 1)
    predicted, true = (
        np.asarray((np.nan_to_num(shares) * used).sum(axis=(1, 2)) / pixels, np.float32)
        for shares in (likely, examples.dead_share)
    )
    return predicted, true


def write_stain(model: nn.Module, settings: StainSettings, origin: Origin, out: Path) -> float:
    """Write a stain bundle to ``out`` and return the largest difference from torch.

    The new bundle is opened with the service's predictor before it replaces ``out``.

    Parameters
    ----------
    origin
        Training images and validation, for the card and the model card.

    Raises
    ------
    ParityError
        If torch and onnxruntime differ too much; ``out`` is then unchanged.
    """
    side = settings.side_px
    with replace_folder(out) as aside:
        export_onnx(model, (len(CHANNELS), side, side), aside / MODEL_FILE, OUTPUT_NAME)
        canary = canary_input(CANARY_SEED, side)
        parity = check_parity(model, aside / MODEL_FILE, canary)
        card = StainCard(
            name="predicted-stain",
            sha256=hashlib.sha256((aside / MODEL_FILE).read_bytes()).hexdigest(),
            input_name=INPUT_NAME,
            output_name=OUTPUT_NAME,
            input_size=side,
            canary=canary_of(model, canary),
            provenance=f"training/stain/train.py, {origin.images}, {settings}",
            licence=LICENCE,
        )
        (aside / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (aside / "NOTICE").write_text(NOTICE, encoding="utf-8")
        (aside / "MODEL_CARD.md").write_text(
            model_card(origin, seed=settings.seed, steps=settings.steps, side_px=side),
            encoding="utf-8",
        )
        OnnxStain(load_stain(aside))
    return parity


def train_stain(
    out: Path,
    *,
    seed: int,
    steps: int,
    images: int,
    threads: int,
    renderers: Sequence[RendererName],
    wells: Path | None = None,
    dead_weight: float | None = None,
) -> tuple[Origin, float]:
    """Train a stain network and write ``out / "bundle"``.

    The rendered wells are kept in ``out``. The last wells are for validation.

    Parameters
    ----------
    wells
        Table of stained wells (:mod:`training.stain.stained_wells`); None renders ``images`` wells.
    dead_weight
        Weight of the dead stain, needed with ``wells``.

    Returns
    -------
    Origin
        The training images, and the errors on the validation wells.
    float
        Largest difference between torch and onnxruntime.

    Raises
    ------
    ConfigError
        If the table of stained wells cannot be used, or has no weight of the dead stain.
    """
    torch.set_num_threads(threads)
    settings = StainSettings(seed=seed, steps=steps, images=images, renderers=tuple(renderers))
    if wells is None:
        examples = cached_examples(
            out, images, seed=seed, side_px=settings.side_px, renderers=settings.renderers
        )
    elif dead_weight is None:
        raise ConfigError(
            "--dead-weight",
            "is missing; expected the weight that `spherorank quantify-fluorescence` reports",
        )
    else:
        examples = read_stained_wells(wells, dead_weight=dead_weight, side_px=settings.side_px)
    training, validation = split_examples(examples)
    model = fit_stain(training, settings, _progress(steps))
    predicted, true = mean_shares(model, validation)
    constant = np.median(mean_shares(model, training)[1])
    origin = Origin(
        count=len(examples),
        renderers=settings.renderers,
        table=wells,
        validation_error=float(np.abs(predicted - true).mean()),
        constant_error=float(np.abs(constant - true).mean()),
    )
    return origin, write_stain(model, settings, origin, out / "bundle")


def _progress(steps: int) -> Callable[[int, float], None]:
    """Return a function that prints the mean loss of every 50 steps."""
    started = time.monotonic()
    recent: list[float] = []

    def report_step(step: int, loss: float) -> None:
        recent.append(loss)
        if (step + 1) % 50 == 0:
            print(  # noqa: T201 - progress
                f"step {step + 1}/{steps}  loss {np.mean(recent):.4f}  "
                f"{time.monotonic() - started:.0f} s",
                flush=True,
            )
            recent.clear()

    return report_step


def split_examples(examples: StainExamples) -> tuple[StainExamples, StainExamples]:
    """Return the examples for training, and the last ones for validation, at least one each."""
    count = min(max(round(VALIDATION_SHARE * len(examples)), 1), len(examples) - 1)
    return (
        StainExamples(examples.inputs[:-count], examples.dead_share[:-count]),
        StainExamples(examples.inputs[-count:], examples.dead_share[-count:]),
    )
