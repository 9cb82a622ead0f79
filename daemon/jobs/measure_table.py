"""``spherorank measure``: size, shape, intensity, debris, focus and quality of images, as a table, with masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from imagecodecs import png_encode

from acquisition.drop_folder.image_reading import read_image
from acquisition.quality import assess
from inference.ports import Segmenter
from inference.tissue.condition import classify_condition
from inference.tissue.measures import measure_tissue
from schemas.errors import ImageError, OutputError
from schemas.tissue import Segmentation


@dataclass(frozen=True)
class MeasuredImages:
    """What a person is told beside the table."""

    refused: list[ImageError]
    without_scale: list[Path]  # measured in pixels


def write(
    images: Sequence[Path],
    out: Path,
    masks: Path | None,
    segmenter: Segmenter,
    *,
    um_per_px: float | None,
    bits: int | None,
) -> MeasuredImages:
    """Measure the sharpest plane of each file and write a row for it, and its mask as ``<name>.png`` (0 or 255).

    Parameters
    ----------
    um_per_px
        The scale of all images; None takes each file's own.

    Raises
    ------
    OutputError
        If the table or a mask cannot be written.
    """
    _make(masks)
    rows: list[dict[str, object]] = []
    told = MeasuredImages([], [])
    for path in images:
        try:
            read = read_image(path, bits=bits)
        except ImageError as error:
            told.refused.append(ImageError(path, error.problem))
            continue
        scale = um_per_px or read.um_per_px
        if scale is None:
            told.without_scale.append(path)
        quality = assess(read.planes)
        plane = read.planes[quality.sharpest_plane]
        tissue = segmenter.segment(plane, scale)
        measures = measure_tissue(plane, tissue, scale)
        condition, degree = classify_condition(measures) or (None, None)
        rows.append(
            {
                "file": str(path),
                "um_per_px": scale,
                "planes": len(read.planes),
                "sharpest_plane": quality.sharpest_plane + 1,
                "focus": quality.focus[quality.sharpest_plane],
                "saturated_fraction": quality.saturated_fraction,
                "flags": " ".join(quality.flags),
                "unsure": " ".join(tissue.unsure),
                "condition": condition,
                "explosion_degree": degree,
                **measures,
            }
        )
        if masks is not None:
            _write_mask(masks / f"{path.stem}.png", tissue)
    try:
        pd.DataFrame(rows).to_csv(out, index=False)
    except OSError as error:
        raise OutputError(
            out, f"cannot be written ({error.strerror}); expected a writable folder with free space"
        ) from error
    return told


def _make(masks: Path | None) -> None:
    """Find out before the first image whether masks can be written."""
    if masks is None:
        return
    try:
        masks.mkdir(parents=True, exist_ok=True)
        trial = masks / ".spherorank-trial"
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise OutputError(
            masks, f"cannot take masks ({error.strerror}); expected a writable folder"
        ) from error


def _write_mask(path: Path, tissue: Segmentation) -> None:
    try:
        path.write_bytes(png_encode(tissue.body.astype(np.uint8) * 255))
    except OSError as error:
        raise OutputError(
            path,
            f"cannot be written ({error.strerror}); expected a writable folder with free space",
        ) from error
