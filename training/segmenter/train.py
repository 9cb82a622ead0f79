"""Training of a segmenter on virtual plates: ``spherorank train segmenter --out DIR``.

Training images (:mod:`training.segmenter.training_images`) → a small U-Net (Ronneberger et al.
2015, doi:10.1007/978-3-319-24574-4_28) of 0.8 million weights → cross-entropy and Dice (Milletari
et al. 2016, doi:10.1109/3DV.2016.79) → ONNX, compared with torch → a bundle for
:class:`inference.tissue.onnx_segmenter.OnnxSegmenter`. The same command continues a stopped
training.
"""

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inference.tissue.onnx_segmenter import (
    CARD_FILE,
    CHANNELS,
    MODEL_FILE,
    OnnxSegmenter,
    canary_input,
    load_segmenter,
)
from schemas.segmenter_bundle import SegmenterCard
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
from training.progress import show_progress
from training.segmenter.training_images import make_training_batch

CHECKPOINT = "checkpoint.pt"
WIDTHS = (16, 32, 64, 96, 128)
CHANNEL_WEIGHTS = (1.0, 0.3)  # body, debris
SMALLEST_PX = 20.0  # added to both sides of Dice, which is else undefined for an empty image
WARM_UP_STEPS = 50
SAVE_EVERY_STEPS = 100


@dataclass(frozen=True)
class SegmenterSettings:
    """The settings that decide the weights of a segmenter."""

    seed: int = 0
    steps: int = 850
    batch: int = 18
    side_px: int = 256
    peak_rate: float = 3e-3  # largest learning rate
    weight_decay: float = 1e-4


class UNet(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A U-Net from optical density to log odds of body and debris.

    Input (batch, 1, side, side), output (batch, 2, side, side). The finest level has half the side.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, widths[0], 4, stride=2, padding=1)
        self.down = nn.ModuleList([conv_block(widths[0], widths[0])])
        self.down.extend(
            nn.Sequential(conv_block(above, below), conv_block(below, below))
            for above, below in itertools.pairwise(widths)
        )
        self.up = expanding_path(widths)
        self.head = nn.Conv2d(widths[0], len(CHANNELS) * 4, 3, padding=1)

    def forward(self, density: torch.Tensor) -> torch.Tensor:
        """Return log odds of body and debris, (batch, 1, side, side) → (batch, 2, side, side)."""
        features = functional.relu(self.stem(density))  # (batch, 16, side/2, side/2)
        kept = []
        for depth, block in enumerate(self.down):
            features = block(functional.max_pool2d(features, 2) if depth else features)
            kept.append(features)
        features = kept.pop()  # (batch, 128, side/32, side/32)
        return functional.pixel_shuffle(self.head(expand(self.up, features, kept)), 2)


def segmentation_loss(log_odds: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Return the weighted sum over channels of 3 × cross-entropy + 1 − Dice, a scalar.

    Dice is computed for each image, so that small tissue has the weight of large tissue.

    Parameters
    ----------
    log_odds, truth
        (batch, 2, side, side).
    """
    weights = log_odds.new_tensor(CHANNEL_WEIGHTS)
    entropy = functional.binary_cross_entropy_with_logits(log_odds, truth, reduction="none").mean(
        dim=(0, 2, 3)
    )
    likely = log_odds.sigmoid()
    overlap = 2 * (likely * truth).sum(dim=(2, 3)) + SMALLEST_PX
    dice = overlap / (likely.sum(dim=(2, 3)) + truth.sum(dim=(2, 3)) + SMALLEST_PX)  # (batch, 2)
    return (weights * (3 * entropy + 1 - dice.mean(dim=0))).sum()


def fit_segmenter(
    settings: SegmenterSettings, out: Path, report_step: Callable[[int, float, float], None]
) -> UNet:
    """Train a U-Net, or continue from the checkpoint in ``out``, and return it in evaluation mode.

    Parameters
    ----------
    report_step
        Called after each step with its number, its loss and its learning rate.
    """
    torch.manual_seed(settings.seed)
    model = UNet()
    model.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.peak_rate, weight_decay=settings.weight_decay
    )
    first, checkpoint = 0, out / CHECKPOINT
    out.mkdir(parents=True, exist_ok=True)
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimiser.load_state_dict(saved["optimiser"])
        first = saved["step"]
    model.train()
    for step in range(first, settings.steps):
        inputs, truths = (
            torch.from_numpy(part)
            for part in make_training_batch(settings.seed, step, settings.batch, settings.side_px)
        )
        with torch.autocast("cpu", torch.bfloat16):
            log_odds = model(inputs.to(memory_format=torch.channels_last))
        loss = segmentation_loss(log_odds.float(), truths)
        rate = rate_at(step, settings.steps, settings.peak_rate, WARM_UP_STEPS)
        descend(model, optimiser, loss, rate)
        report_step(step, loss.item(), rate)
        if (step + 1) % SAVE_EVERY_STEPS == 0 or step + 1 == settings.steps:
            _save_checkpoint(checkpoint, model, optimiser, step + 1)
    model.to(memory_format=torch.contiguous_format).eval()
    return model


def _steps_done(checkpoint: Path) -> int:
    """Return the number of steps of a checkpoint; 0 if there is none."""
    return int(torch.load(checkpoint, weights_only=True)["step"]) if checkpoint.exists() else 0


def _save_checkpoint(
    path: Path, model: UNet, optimiser: torch.optim.Optimizer, steps_done: int
) -> None:
    aside = path.with_suffix(".part")
    saved = {
        "model": model.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": steps_done,
    }
    torch.save(saved, aside)
    aside.replace(path)


def write_segmenter(model: nn.Module, settings: SegmenterSettings, out: Path) -> float:
    """Write a segmenter's bundle to ``out`` and return the largest difference from torch.

    The new bundle is opened with the service's segmenter before it replaces ``out``.

    Raises
    ------
    ParityError
        If torch and onnxruntime differ too much; ``out`` is then unchanged.
    """
    side = settings.side_px
    with replace_folder(out) as aside:
        export_onnx(model, (1, side, side), aside / MODEL_FILE, OUTPUT_NAME)
        canary = canary_input(CANARY_SEED, side)
        noise = (
            np.random.default_rng(CANARY_SEED)
            .uniform(-0.5, 2, (2, 1, side, side))
            .astype(np.float32)
        )
        parity = check_parity(model, aside / MODEL_FILE, np.concatenate([canary, noise]))
        card = SegmenterCard(
            name="learned",
            sha256=hashlib.sha256((aside / MODEL_FILE).read_bytes()).hexdigest(),
            input_name=INPUT_NAME,
            output_name=OUTPUT_NAME,
            input_size=side,
            canary=canary_of(model, canary),
            provenance=f"training/segmenter/train.py, virtual plates only, {settings}",
            licence="BSD-3-Clause",
        )
        (aside / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        OnnxSegmenter(load_segmenter(aside))
    return parity


def train_segmenter(out: Path, *, seed: int, steps: int, threads: int) -> float:
    """Train a segmenter, write ``out / "bundle"``, and return the largest difference from torch.

    Returns
    -------
    float
        Largest difference between torch and onnxruntime.
    """
    torch.set_num_threads(threads)
    settings = SegmenterSettings(seed=seed, steps=steps)
    with show_progress("steps", steps, _steps_done(out / CHECKPOINT)) as advance:
        model = fit_segmenter(
            settings,
            out,
            lambda step, loss, rate: advance(step + 1, f"loss {loss:.4f}, rate {rate:.5f}"),
        )
    return write_segmenter(model, settings, out / "bundle")
