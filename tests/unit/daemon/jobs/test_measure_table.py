from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import tifffile

from daemon.jobs.measure_table import write_measures
from daemon.tissue_analysis import TissueMethod
from schemas.tissue import Segmentation, Unsure


@dataclass(frozen=True)
class DarkFieldsRefused:
    """A segmenter that refuses images without a bright pixel; other wells are empty."""

    segmenter_id: ClassVar[str] = "drawn-1"

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:
        del um_per_px
        empty = np.zeros(plane.shape, bool)
        doubts = (Unsure.NO_BACKGROUND,) if plane.mean() < 0.5 * plane.max() else ()
        return Segmentation(empty, empty, np.ones((2, 2), np.float32), doubts)


def test_a_refused_image_has_a_row_with_the_reason_and_without_measures(tmp_path: Path) -> None:
    dark, bright = tmp_path / "dark.tif", tmp_path / "bright.tif"
    noise = np.random.default_rng(0).integers(0, 40, (64, 64)).astype(np.uint8)
    spot = noise.copy()
    spot[0, 0] = 255
    tifffile.imwrite(dark, spot)
    tifffile.imwrite(bright, 255 - noise)
    report = write_measures(
        [dark, bright],
        tmp_path / "m.csv",
        None,
        TissueMethod(DarkFieldsRefused()),
        pieces=tmp_path / "p.csv",
        um_per_px=1.0,
        bits=8,
    )
    assert report.without_background == [dark]
    table = pd.read_csv(tmp_path / "m.csv", index_col="file")
    refused, empty = table.loc[str(dark)], table.loc[str(bright)]
    assert (refused.refused, refused.unsure) == ("no background in view", "no_background")
    assert refused[["area_um2", "pieces", "debris_area_um2", "condition"]].isna().all()
    assert (empty.area_um2, empty.pieces) == (0, 0)
    assert pd.isna(empty.refused)
    assert pd.read_csv(tmp_path / "p.csv").empty
