"""Work of ``spherorank measure``: write the tissue measures of image files to a CSV file.

The tissue masks are written as PNG on request.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from imagecodecs import png_encode

from acquisition.drop_folder.image_reading import read_image
from acquisition.quality import assess
from daemon.jobs.new_files import check_new, mask_files
from inference.ports import Segmenter
from inference.tissue.condition import classify_condition
from inference.tissue.measures import measure_tissue
from schemas.errors import ImageError, OutputError
from schemas.scale import FileScale, agree
from schemas.tissue import Segmentation

NO_BACKGROUND = "no background in view"


@dataclass(frozen=True)
class MeasureReport:
    """The image files to report after a measure table was written."""

    refused: list[ImageError]
    without_scale: list[Path]  # measured in pixels
    contradicted: dict[Path, FileScale]  # measured with another scale than that of the file
    without_background: list[Path]  # refused by the segmenter: their rows have no measures


def write_measures(
    images: Sequence[Path],
    out: Path,
    masks: Path | None,
    segmenter: Segmenter,
    *,
    um_per_px: float | None,
    bits: int | None,
) -> MeasureReport:
    """Write the tissue measures of image files to a CSV file, and return the MeasureReport.

    The tissue is measured in the sharpest plane. The CSV file has one row per image file. The
    column ``refused`` has the reason why the row of an image has no measures.

    Parameters
    ----------
    images
        Image files; the pages of one file are its planes.
    masks
        Folder for the tissue masks, PNG with 0 and 255, named by :func:`mask_files`; None writes no
        masks.
    um_per_px
        Scale of all images in µm per pixel; None uses each file's own scale.
    bits
        Bits per pixel in 16-bit files; None estimates them from each file's maximum.

    Returns
    -------
    MeasureReport
        The files that were refused, those without scale, those whose own scale differs from
        ``um_per_px`` by more than :data:`schemas.scale.SCALE_TOLERANCE`, and those that have no
        background in view.

    Raises
    ------
    OutputError
        If the CSV file or a mask exists or cannot be written.
    """
    mask_paths = mask_files(images, masks) if masks is not None else {}
    check_new([out, *mask_paths.values()])
    if masks is not None:
        _check_writable(masks)
    rows: list[dict[str, object]] = []
    report = MeasureReport([], [], {}, [])
    for path in dict.fromkeys(images):
        try:
            read = read_image(path, bits=bits)
        except ImageError as error:
            report.refused.append(ImageError(path, error.problem))
            continue
        scale = um_per_px or read.um_per_px
        if scale is None:
            report.without_scale.append(path)
        elif read.um_per_px and not agree(scale, read.um_per_px):
            report.contradicted[path] = FileScale(read.um_per_px, read.scale_source)
        quality = assess(read.planes)
        plane = read.planes[quality.sharpest_plane]
        tissue = segmenter.segment(plane, scale)
        measures = {} if tissue.is_refused else measure_tissue(plane, tissue, scale)
        condition, degree = (measures and classify_condition(measures)) or (None, None)
        if tissue.is_refused:
            report.without_background.append(path)
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
                "refused": NO_BACKGROUND if tissue.is_refused else None,
                "condition": condition,
                "explosion_degree": degree,
                **measures,
            }
        )
        if masks is not None:
            _write_mask(mask_paths[path], tissue)
    try:
        pd.DataFrame(rows).to_csv(out, index=False)
    except OSError as error:
        raise OutputError(
            out, f"cannot be written ({error.strerror}); expected a writable folder with free space"
        ) from error
    return report


def _check_writable(masks: Path) -> None:
    """Make the folder for masks and write a trial file, before the first image is measured."""
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
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png_encode(tissue.body.astype(np.uint8) * 255))
    except OSError as error:
        raise OutputError(
            path,
            f"cannot be written ({error.strerror}); expected a writable folder with free space",
        ) from error
