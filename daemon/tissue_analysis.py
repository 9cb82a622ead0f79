"""Assesses the quality of an image and measures the tissue in its sharpest plane."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from acquisition.quality import assess
from inference.ports import Segmenter, StainPredictor
from inference.tissue.crowding import correct_flags
from inference.tissue.measures import measure_tissue, measuring_method
from schemas.quality import Flag, Quality
from schemas.tissue import Segmentation


@dataclass(frozen=True, eq=False)
class TissueAnalysis:
    """The quality of an image, its sharpest plane, and the outline and measures of its tissue."""

    quality: Quality  # with flags that agree with the measures
    plane: npt.NDArray[np.uint16]  # (H, W): the sharpest plane
    tissue: Segmentation
    measures: dict[str, float]  # empty if the segmenter refuses the image
    measured_by: str  # segmenter, version of the measures, and stain bundle if any


@dataclass(frozen=True)
class TissueMethod:
    """The parts that measure the tissue of an image: a segmenter, and a stain predictor if any."""

    segmenter: Segmenter
    stain: StainPredictor | None = None

    @property
    def measured_by(self) -> str:
        """Name of the method: measures by different methods are never compared."""
        stain_id = None if self.stain is None else self.stain.stain_id
        return measuring_method(self.segmenter.segmenter_id, stain_id)


def analyse_tissue(
    planes: npt.NDArray[np.uint16],
    um_per_px: float | None,
    method: TissueMethod,
    flags: tuple[Flag, ...] = (),
) -> TissueAnalysis:
    """Return the TissueAnalysis of the planes of an image, with its scale or None.

    Parameters
    ----------
    planes
        (planes, H, W) uint16, white = 65535.
    method
        The segmenter, and the stain predictor whose predictions are added to the measures.
    flags
        Flags that were set when the files were read; they come first in the quality.
    """
    return measure_sharpest_plane(planes, assess(planes, flags), um_per_px, method)


def measure_sharpest_plane(
    planes: npt.NDArray[np.uint16],
    quality: Quality,
    um_per_px: float | None,
    method: TissueMethod,
) -> TissueAnalysis:
    """Return the TissueAnalysis of an image whose quality is known.

    Parameters are those of :func:`analyse_tissue`.
    """
    plane = planes[quality.sharpest_plane]
    tissue = method.segmenter.segment(plane, um_per_px)
    measures = measure_tissue(plane, tissue, um_per_px)
    if method.stain is not None:
        measures |= method.stain.predicted_measures(plane, tissue, um_per_px)
    return TissueAnalysis(
        correct_flags(quality, measures), plane, tissue, measures, method.measured_by
    )
