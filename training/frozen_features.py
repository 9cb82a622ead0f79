"""What a backbone that does not learn makes of every image, kept: each image is augmented a few times, seen once each time, and never again.

The features of one plate are one memory-mapped file, (variants, N, dimension) float16, made when first asked for; a run that was
killed goes on at the next plate.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from training.augment import augment, draw, preset
from training.batches import value_images
from training.well_views import WellViews

Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Seen:
    """How a plate was looked at: all that decides its features but the crops."""

    preset: str
    variants: int
    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int


def frozen_features(
    views: Sequence[WellViews], backbone: nn.Module, how: Seen, cache: Path, *, progress: Callable[[int, int], None] = lambda _done, _total: None
) -> list[Halves]:
    """Return the features of each plate, (variants, N, dimension), made now or earlier."""
    weights = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        weights.update(name.encode() + tensor.cpu().numpy().tobytes())
    kept = []
    for done, plate in enumerate(views, start=1):
        digest = hashlib.sha256(f"{plate.digest} {how} {weights.hexdigest()}".encode()).hexdigest()[:16]
        path = cache / "features" / f"{plate.digest}-{digest}.npy"
        if not path.exists():
            _keep(path, _look(plate, backbone, how))
        kept.append(np.load(path, mmap_mode="r"))
        progress(done, len(views))
    return kept


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not typed here
def _look(plate: WellViews, backbone: nn.Module, how: Seen) -> Halves:
    """Return (variants, N, dimension)."""
    backbone.eval()
    (state,) = np.random.SeedSequence([how.seed, int(plate.digest, 16)]).generate_state(1, np.uint64)
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (how.mean, how.std))
    found = []
    for _ in range(how.variants):
        of_variant = []
        for start in range(0, len(plate), 16):
            images = value_images(plate.crops[start : start + 16], how.side_px)
            changed = augment(images, draw(preset(how.preset), len(images), generator), plate.background)
            of_variant.append(backbone((changed - mean) / std).numpy().astype(np.float16))
        found.append(np.concatenate(of_variant))
    return np.stack(found)


def _keep(path: Path, features: Halves) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(suffix=".npy", dir=path.parent, delete=False) as file:
        np.save(file, features)
    Path(file.name).replace(path)
