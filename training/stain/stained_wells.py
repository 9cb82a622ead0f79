"""Training images of a stain network from stained wells: bright field, live and dead stain.

A table has one row for each well with the columns ``bright_field``, ``live`` and ``dead``: image
files of the same field and size, with paths that start in the folder of the table. The dead share
of a pixel is w · dead / (live + w · dead), with the signals above the background and the weight w
of the dead stain, which ``spherorank quantify-fluorescence`` reports. Pixels of the tissue without
a signal are not trained on.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from acquisition.drop_folder.image_decoding import ImageLimits, decode
from acquisition.drop_folder.image_reading import read_image
from acquisition.quality import assess
from inference.fluorescence.stain_signal import (
    Projection,
    looks_like_bright_field,
    measure_stain,
)
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.onnx_stain import crop_square, stain_input, tissue_window
from schemas.errors import ConfigError, ImageError
from training.stain.training_images import Floats, StainExamples

COLUMNS = ("bright_field", "live", "dead")


def read_stained_wells(table: Path, *, dead_weight: float, side_px: int) -> StainExamples:
    """Return the StainExamples of the wells of a table, in the order of its rows.

    Parameters
    ----------
    table
        CSV file with the columns of :data:`COLUMNS`.
    dead_weight
        Signal of the live stain of a live cell, divided by that of the dead stain of a dead cell.
    side_px
        Side of an input in pixels.

    Raises
    ------
    ConfigError
        If the table cannot be read, lacks a column, or has fewer than two wells.
    ImageError
        If an image cannot be read, the images of a well differ in size, a stain is bright field,
        or a well shows no tissue or no stain.
    """
    wells = [
        _read_well({name: table.parent / row[name] for name in COLUMNS}, dead_weight, side_px)
        for row in _rows(table)
    ]
    inputs, shares = (np.stack(part) for part in zip(*wells, strict=True))
    return StainExamples(inputs, shares)


def _rows(table: Path) -> list[dict[str, str]]:
    """Return the rows of a table; raise ConfigError unless it has the columns and two rows."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            rows, found = list(reader), reader.fieldnames or []
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(table, f"cannot be read ({error}); expected a CSV file") from error
    if missing := [name for name in COLUMNS if name not in found]:
        raise ConfigError(
            table,
            f"has the columns {', '.join(found) or 'none'}, without {', '.join(missing)}; "
            f"expected {', '.join(COLUMNS)}",
        )
    if len(rows) < 2:  # noqa: PLR2004 - one for training, one for validation
        raise ConfigError(table, f"has {len(rows)} rows; expected at least two wells")
    return rows


def _read_well(
    files: Mapping[str, Path], dead_weight: float, side_px: int
) -> tuple[Floats, Floats]:
    """Return input (2, side, side) and dead share (side, side) of a well's files, by column."""
    bright = read_image(files["bright_field"])
    plane = bright.planes[assess(bright.planes).sharpest_plane]
    tissue = ClassicalSegmenter().segment(plane, bright.um_per_px)
    if tissue.is_empty:
        raise ImageError(files["bright_field"], "no tissue is found; expected tissue")
    window = tissue_window(tissue.body)
    live, dead = (
        crop_square(_signal(files[name], plane.shape), window, side_px) for name in ("live", "dead")
    )
    whole = live + dead_weight * dead
    share = np.divide(dead_weight * dead, whole, out=np.full_like(whole, np.nan), where=whole > 0)
    cropped = stain_input(plane, tissue, side_px)
    if not np.isfinite(share[cropped[1] > 0]).any():
        raise ImageError(files["live"], "no stain is above the background in the tissue")
    return cropped, share.astype(np.float32)


def _signal(path: Path, shape: tuple[int, ...]) -> Floats:
    """Return the signal above the background, (H, W), of a stain whose bright field has a shape."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror}") from error
    planes = np.stack(decode(content, path, ImageLimits()).planes).astype(np.float64)
    if planes.shape[1:] != shape:
        raise ImageError(
            path,
            f"{planes.shape[2]}×{planes.shape[1]} pixels; expected {shape[1]}×{shape[0]}, as its "
            "bright-field image has",
        )
    if looks_like_bright_field(planes.mean(axis=0)):
        raise ImageError(path, "looks like bright field; expected a fluorescence image")
    return measure_stain(planes, Projection.SUM).signal.astype(np.float32)
