"""Work of ``spherorank measure``: write the tissue measures of image files to a CSV file.

On request, the measures of single pieces are written to a second CSV file, and the tissue masks as
PNG.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from imagecodecs import png_encode

from acquisition.drop_folder.image_reading import GreyImage, read_image
from daemon.jobs.new_files import check_new, mask_files
from daemon.tissue_analysis import TissueAnalysis, TissueMethod, analyse_tissue
from inference.tissue.condition import classify_condition
from inference.tissue.piece_table import measure_each_piece
from schemas.errors import ImageError, OutputError
from schemas.scale import FileScale, agree
from schemas.tissue import Segmentation

NO_BACKGROUND = "no background in view"
_PIECE_COLUMNS = ("file", "um_per_px", "piece")
"""First columns of the table of pieces, which a table without any piece also has."""


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
    tissue: TissueMethod,
    *,
    pieces: Path | None,
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
    pieces
        CSV file for the pieces of tissue, one row per piece; None writes no such file.
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
        If a CSV file or a mask exists or cannot be written.
    """
    mask_paths = mask_files(images, masks) if masks is not None else {}
    check_new([out, *([] if pieces is None else [pieces]), *mask_paths.values()])
    if masks is not None:
        _check_writable(masks)
    rows: list[dict[str, object]] = []
    piece_rows: list[dict[str, object]] = []
    report = MeasureReport([], [], {}, [])
    for path in dict.fromkeys(images):
        try:
            read = read_image(path, bits=bits)
        except ImageError as error:
            report.refused.append(ImageError(path, error.problem))
            continue
        scale = um_per_px or read.um_per_px
        found = analyse_tissue(read.planes, scale, tissue)
        _add_to_report(report, path, read, found, scale)
        rows.append(_row(path, scale, len(read.planes), found))
        if pieces is not None:
            piece_rows += _piece_rows(path, scale, found)
        if masks is not None:
            _write_mask(mask_paths[path], found.tissue)
    _write_table(out, pd.DataFrame(rows))
    if pieces is not None:
        _write_table(pieces, pd.DataFrame(piece_rows, columns=_columns_of(piece_rows)))
    return report


def _add_to_report(
    report: MeasureReport, path: Path, read: GreyImage, found: TissueAnalysis, scale: float | None
) -> None:
    """Add an image to the lists of a report that name it; ``scale`` is that of its measures."""
    if scale is None:
        report.without_scale.append(path)
    elif read.um_per_px and not agree(scale, read.um_per_px):
        report.contradicted[path] = FileScale(read.um_per_px, read.scale_source)
    if found.tissue.is_refused:
        report.without_background.append(path)


def _row(path: Path, scale: float | None, planes: int, found: TissueAnalysis) -> dict[str, object]:
    """Return the row of an image in the table of measures."""
    quality = found.quality
    condition, degree = classify_condition(found.measures) or (None, None)
    return {
        "file": str(path),
        "um_per_px": scale,
        "planes": planes,
        "sharpest_plane": quality.sharpest_plane + 1,
        "focus": quality.focus[quality.sharpest_plane],
        "saturated_fraction": quality.saturated_fraction,
        "flags": " ".join(quality.flags),
        "unsure": " ".join(found.tissue.unsure),
        "refused": NO_BACKGROUND if found.tissue.is_refused else None,
        "measured_by": found.measured_by,
        "condition": condition,
        "explosion_degree": degree,
        **found.measures,
    }


def _piece_rows(path: Path, scale: float | None, found: TissueAnalysis) -> list[dict[str, object]]:
    """Return the rows of an image in the table of pieces, one per piece, the largest first."""
    return [
        {"file": str(path), "um_per_px": scale, **piece}
        for piece in measure_each_piece(found.plane, found.tissue, scale)
    ]


def _columns_of(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Return the names of all columns of the table of pieces, in their order of appearance."""
    return list(dict.fromkeys([*_PIECE_COLUMNS, *(name for row in rows for name in row)]))


def _write_table(path: Path, table: pd.DataFrame) -> None:
    try:
        table.to_csv(path, index=False)
    except OSError as error:
        raise OutputError(
            path,
            f"cannot be written ({error.strerror}); expected a writable folder with free space",
        ) from error


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
