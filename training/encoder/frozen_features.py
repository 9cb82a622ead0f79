"""Features of a backbone that is not trained, computed once for a few augmentations of each image.

The features of one plate are one memory-mapped file, (variants, N, dimension) float16. A training
that was stopped continues with the next plate. The backbone runs in onnxruntime, which takes a
fifth of torch's time on a CPU.
"""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from inference.onnx_session import CPU_PROVIDER, create_session
from training.data.augmentation import augment, draw_augmentations
from training.data.batches import value_images
from training.data.crops import PlateCrops
from training.data.presets import get_preset
from training.encoder.export import INPUT_NAME, export_onnx

Halves = npt.NDArray[np.float16]


@dataclass(frozen=True)
class FeatureSettings:
    """Everything except crops and weights that decides the features of a plate."""

    preset: str
    variants: int
    side_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int


def compute_frozen_features(
    plates: Sequence[PlateCrops],
    backbone: nn.Module,
    settings: FeatureSettings,
    cache: Path,
    *,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> list[Halves]:
    """Return a backbone's features of each plate, (variants, N, D), from the cache or computed.

    A plate that is repeated in an epoch has ``repeat`` times as many variants.
    """
    weights = hashlib.sha256()
    for name, tensor in sorted(backbone.state_dict().items()):
        weights.update(name.encode() + tensor.cpu().numpy().tobytes())
    kept, session = [], None
    for done, plate in enumerate(plates, start=1):
        of_plate = replace(settings, variants=settings.variants * plate.repeat)
        digest = hashlib.sha256(
            f"{plate.digest} {of_plate} {weights.hexdigest()}".encode()
        ).hexdigest()[:16]
        path = cache / "features" / f"{plate.digest}-{digest}.npy"
        if not path.exists():
            session = session or _open_backbone(backbone, settings.side_px)
            _write_features(path, _compute_features(plate, session, of_plate))
        kept.append(np.load(path, mmap_mode="r"))
        progress(done, len(plates))
    return kept


def _open_backbone(backbone: nn.Module, side_px: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "backbone.onnx"
        export_onnx(backbone.eval(), (3, side_px, side_px), model)
        return create_session(model.read_bytes(), [CPU_PROVIDER], torch.get_num_threads())


def _compute_features(plate: PlateCrops, session: Any, how: FeatureSettings) -> Halves:  # noqa: ANN401 - onnxruntime has no types
    """Return the features of all variants of the images of a plate, (variants, N, dimension)."""
    (state,) = np.random.SeedSequence([how.seed, int(plate.digest, 16)]).generate_state(
        1, np.uint64
    )
    generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
    mean, std = (torch.tensor(each).reshape(3, 1, 1) for each in (how.mean, how.std))
    found = []
    for _ in range(how.variants):
        of_variant = []
        for start in range(0, len(plate), 16):
            images = value_images(plate.crops[start : start + 16], how.side_px)
            changed = augment(
                images,
                draw_augmentations(get_preset(how.preset), len(images), generator),
                plate.background,
            )
            (features,) = session.run(None, {INPUT_NAME: ((changed - mean) / std).numpy()})
            of_variant.append(features.astype(np.float16))
        found.append(np.concatenate(of_variant))
    return np.stack(found)


def _write_features(path: Path, features: Halves) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".", dir=path.parent) as scratch:
        aside = Path(scratch) / path.name
        np.save(aside, features)
        aside.replace(path)
