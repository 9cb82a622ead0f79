"""Files of ``spherorank quantify-fluorescence``: assay, table of stains and page of overlays."""

import base64
import csv
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from pathlib import Path

import cv2
import numpy as np

from daemon.fluorescence.quantification import PlateResult, WellResult
from daemon.fluorescence.settings import FluorescenceSettings, Stain
from daemon.jobs.new_files import check_new
from inference.fluorescence.stain_signal import StainSignal
from schemas.errors import OutputError
from schemas.ranking import FOR_RESEARCH_USE_ONLY

OVERLAY_PX = 220
"""Longer side of an overlay, in pixels."""
BRIGHTEST = 0.998
"""Quantile of the signal of a stain that has full brightness in an overlay."""
_CHANNEL_OF = {Stain.LIVE: 1, Stain.DEAD: 2, Stain.NUCLEI: 0}  # of a BGR image
_OUTLINE_OF = {Stain.LIVE: (120, 255, 120), Stain.DEAD: (120, 120, 255)}


class OutputFiles:
    """The three output files of a plate in a folder; OutputError if one of them exists."""

    def __init__(self, folder: Path, plate: str) -> None:
        self.assay = folder / f"{plate}.assay.csv"
        self.table = folder / f"{plate}.fluorescence.csv"
        self.page = folder / f"{plate}.fluorescence.html"
        check_new([self.assay, self.table, self.page])

    def write(
        self, result: PlateResult, settings: FluorescenceSettings, overlays: Mapping[str, bytes]
    ) -> None:
        """Write the files of a PlateResult, with the JPEG overlays by well.

        Raises
        ------
        OutputError
            If a file cannot be written.
        """
        try:
            self.assay.parent.mkdir(parents=True, exist_ok=True)
            with self.assay.open("x", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerow(("well", "viability_percent"))
                writer.writerows(
                    (well, f"{percent:.2f}") for well, percent in result.assayed.items()
                )
            with self.table.open("x", newline="", encoding="utf-8") as file:
                rows = [_row(well, settings) for well in result.wells.values()]
                table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                table.writeheader()
                table.writerows(rows)
            self.page.write_text(_page(result, settings, overlays), encoding="utf-8")
        except OSError as error:
            raise OutputError(error.filename, f"cannot be written: {error.strerror}") from error


def draw_overlay(signals: Mapping[Stain, StainSignal]) -> bytes:
    """Return a JPEG: live in green, dead in red, nuclei in blue, with outlines of stained areas."""
    if not signals:
        return b""
    shape = next(iter(signals.values())).signal.shape
    picture = np.zeros((*shape, 3), np.uint8)
    for stain, each in signals.items():
        if each.signal.shape == shape:
            top = float(np.quantile(each.signal, BRIGHTEST)) or 1.0
            picture[..., _CHANNEL_OF[stain]] = np.clip(255 * each.signal / top, 0, 255)
    scale = OVERLAY_PX / max(shape)
    size = (max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale)))
    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    for stain, colour in _OUTLINE_OF.items():
        if stain in signals and signals[stain].signal.shape == shape:
            mask = cv2.resize(signals[stain].stained.astype(np.uint8), size)
            outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
            cv2.drawContours(picture, outlines, -1, colour, 1)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def _row(well: WellResult, settings: FluorescenceSettings) -> dict[str, object]:
    """Return the row of a well in the table of stains."""
    unit, factor = ("px", 1.0) if settings.um_per_px is None else ("um2", settings.um_per_px**2)
    row: dict[str, object] = {"well": well.well}
    for stain in settings.stains:
        found = well.stains.get(stain)
        row |= {
            f"{stain}_area_{unit}": "" if found is None else f"{found.area_px * factor:.1f}",
            f"{stain}_intensity": "" if found is None else f"{found.intensity:.1f}",
            f"{stain}_background": "" if found is None else f"{found.background:.1f}",
            f"{stain}_saturated": "" if found is None else f"{found.saturated_share:.4f}",
            f"{stain}_sharpness": "" if found is None else f"{found.sharpness:.4g}",
        }
    return row | {
        "live_share": "" if well.live_share is None else f"{well.live_share:.4f}",
        "viability_percent": (
            "" if well.viability_percent is None else f"{well.viability_percent:.2f}"
        ),
        "left_out": well.left_out,
    }


def _page(
    result: PlateResult, settings: FluorescenceSettings, overlays: Mapping[str, bytes]
) -> str:
    """Return the HTML page with the overlay and the numbers of each well."""
    style = files("daemon.reports").joinpath("report.css").read_text(encoding="utf-8")
    title = f"{escape(result.plate_map.plate)} · fluorescence"
    weight = (
        "" if result.dead_weight is None else f" Weight of the dead stain {result.dead_weight:.3g}."
    )
    figures = "".join(
        _figure(well, overlays.get(name, b""), result.plate_map.by_well[name].treatment)
        for name, well in result.wells.items()
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{title}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<p class="notice">{FOR_RESEARCH_USE_ONLY}</p>\n<header>\n<h1>{title}</h1>\n'
        f"<p>Viability from {settings.viability}, projection {settings.projection}.{weight}</p>\n"
        "</header>\n<section>\n"
        '<p class="hint">Green: live. Red: dead. Blue: nuclei. Each overlay has its own '
        "brightness. Lines: areas above the background. Wells with red text are left out.</p>\n"
        f'<div class="gallery">{figures}</div>\n</section>\n</body>\n</html>\n'
    )


def _figure(well: WellResult, overlay: bytes, treatment: str) -> str:
    """Return the HTML figure of one well."""
    source = f"data:image/jpeg;base64,{base64.b64encode(overlay).decode()}"
    numbers = []
    if well.viability_percent is not None:
        numbers.append(f"viability {well.viability_percent:.0f} %")
    if well.live_share is not None:
        numbers.append(f"live share {well.live_share:.0%}")
    if well.left_out:
        numbers.append(f'<span class="apart">{escape(well.left_out)}</span>')
    return (
        f'<figure><img src="{source}" alt="well {escape(well.well)}" loading="lazy">'
        f"<figcaption><b>{escape(well.well)}</b> {escape(treatment)}<br>"
        f"{'<br>'.join(numbers)}</figcaption></figure>"
    )
