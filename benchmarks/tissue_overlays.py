"""Write a page with the outlines of tissue and debris on all real images.

The page is one HTML file without external resources. The real images are those of
:mod:`benchmarks.real_data`.
"""

import base64
import html
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from acquisition.drop_folder.image_reading import read_image
from acquisition.quality import assess
from benchmarks.real_data import REAL_DATA
from inference.ports import Segmenter
from inference.tissue.condition import classify_condition
from inference.tissue.crowding import correct_flags
from inference.tissue.measures import measure_tissue
from schemas.errors import ImageError
from schemas.tissue import Segmentation

_SIDE_PX = 900
_ORANGE, _BLUE, _GREEN = (0, 140, 255), (255, 90, 0), (60, 220, 60)  # blue, green, red
_SUFFIXES = (".tif", ".tiff", ".jpg", ".png")
_NOT_IMAGES = "scribbles"  # folder of drawings by hand
_SHOWN_MEASURES = (
    "pieces",
    "holes",
    "largest_piece_share",
    "effective_pieces",
    "circularity",
    "solidity",
    "open_directions",
    "spilled",
)
_STYLE = (
    "body{font:14px sans-serif;margin:1em}figure{display:inline-block;width:460px;margin:6px;"
    "vertical-align:top}img{width:100%}figcaption{overflow-wrap:anywhere}"
    "b.orange{color:#d70}b.blue{color:#05f}b.green{color:#092}"
)


def write_overlays(target: Path, segmenter: Segmenter) -> None:
    """Write the page of all real images to a file, and print one line per image."""
    figures = []
    for path in sorted(REAL_DATA.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or _NOT_IMAGES in path.parts:
            continue
        try:
            image = read_image(path)
        except ImageError as error:
            print(f"skipped: {error}")
            continue
        plane = image.planes[assess(image.planes).sharpest_plane]
        found = segmenter.segment(plane, image.um_per_px)
        lines = list(describe(plane, found, image.um_per_px))
        name = str(path.relative_to(REAL_DATA))
        print(f"{name}: {'; '.join(lines)}")
        figures.append(_figure(name, draw_outlines(plane, found), lines))
    target.write_text(
        f'<!doctype html><meta charset="utf-8"><title>Outlines</title><style>{_STYLE}</style>'
        '<p><b class="orange">body</b>, <b class="green">hole</b>, <b class="blue">debris</b></p>'
        + "\n".join(figures),
        encoding="utf-8",
    )
    print(f"{target}: {len(figures)} images")


def describe(
    plane: npt.NDArray[np.uint16], found: Segmentation, um_per_px: float | None
) -> Iterator[str]:
    """Yield the lines that describe a segmented plane: condition, doubts, flags and measures."""
    measures = measure_tissue(plane, found, um_per_px) if _is_measured(found) else {}
    if not measures:
        yield "refused"
    else:
        condition, degree = classify_condition(measures) or ("empty", None)
        yield f"{condition}" if degree is None else f"{condition}, degree {degree:.2f}"
    yield f"doubts: {', '.join(found.unsure) or 'none'}"
    flags = correct_flags(assess(plane[None]), measures).flags
    yield f"flags: {', '.join(flags) or 'none'}"
    yield f"area {found.body.mean():.1%} of the field, debris {found.debris.mean():.1%}"
    shown = (f"{name} {measures[name]:.3g}" for name in _SHOWN_MEASURES if name in measures)
    yield ", ".join(shown)


def _is_measured(found: Segmentation) -> bool:
    """Return whether the image was not refused: an empty well has measures, too."""
    return not (found.is_empty and "no_background" in map(str, found.unsure))


def draw_outlines(plane: npt.NDArray[np.uint16], found: Segmentation) -> npt.NDArray[np.uint8]:
    """Return a plane, (H, W), as a colour image (h, w, 3) with the outlines of a Segmentation."""
    low, high = np.percentile(plane, [0.2, 99.8])
    scale = 255 / max(float(high - low), 1.0)
    grey = np.clip((plane.astype(np.float32) - low) * scale, 0, 255).astype(np.uint8)
    factor = _SIDE_PX / max(plane.shape)
    shape = (round(plane.shape[1] * factor), round(plane.shape[0] * factor))
    kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    picture = cv2.cvtColor(cv2.resize(grey, shape, interpolation=kind), cv2.COLOR_GRAY2BGR)
    for mask, colour in ((found.debris, _BLUE), (found.body, _ORANGE)):
        sized = cv2.resize(mask.astype(np.float32), shape, interpolation=cv2.INTER_LINEAR)
        contours, levels = cv2.findContours(
            (sized >= 0.5).astype(np.uint8),  # noqa: PLR2004 - half of a pixel
            cv2.RETR_CCOMP,
            cv2.CHAIN_APPROX_NONE,
        )
        for number in range(len(contours)):
            inner = colour == _ORANGE and levels[0][number][3] >= 0
            cv2.drawContours(picture, contours, number, _GREEN if inner else colour, 2)
    return np.asarray(picture, np.uint8)


def _figure(name: str, picture: npt.NDArray[np.uint8], lines: list[str]) -> str:
    """Return the HTML of a picture, (h, w, 3), with its name and lines."""
    _, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
    source = f"data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()}"
    text = "<br>".join(html.escape(line) for line in lines)
    return (
        f'<figure><img src="{source}" alt="{html.escape(name)}">'
        f"<figcaption><b>{html.escape(name)}</b><br>{text}</figcaption></figure>"
    )
