"""Reminds a developer to raise the version of a method when it measures an image differently.

``pinned_measures.json`` contains the measures of drawn images by each method. Run this module as a
program to write the file.
"""

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from daemon.tissue_analysis import TissueAnalysis, TissueMethod, analyse_tissue
from inference.ports import Segmenter
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.onnx_segmenter import OnnxSegmenter, load_segmenter, shipped_segmenter
from tests.drawn_planes import disc, expose, grain

PINNED = Path(__file__).with_name("pinned_measures.json")
SIDE = 320
UM_PER_PX = 2.0
WHAT_TO_DO = """
{method} measures the drawn image {name} differently than before. Measures by different methods
must never be compared, so a change of the code needs a new version:
- a change of the outline: raise the version in SEGMENTER_ID (classical_segmenter.py) or
  CODE_VERSION (onnx_segmenter.py);
- a change of a measure, or of the choice of the sharpest plane: raise MEASURES_VERSION
  (measures.py).
Then run: python -m tests.unit.daemon.test_measuring_method
"""


def spheroid() -> npt.NDArray[np.float64]:
    """Return the optical density of a spheroid with grain, a dark core and loose cells."""
    density = 0.5 * disc(0.48, 0.52, 0.2, SIDE) + 0.3 * disc(0.48, 0.52, 0.1, SIDE)
    for x, y in ((0.2, 0.3), (0.75, 0.7), (0.3, 0.8)):
        density = density + 0.4 * disc(x, y, 0.012, SIDE)
    return np.asarray(density * (1 + 0.15 * grain(SIDE)))


def burst() -> npt.NDArray[np.float64]:
    """Return the optical density of tissue that has fallen into pieces of several sizes."""
    rng = np.random.default_rng(3)
    density = 0.6 * disc(0.5, 0.5, 0.1, SIDE)
    for number in range(24):
        turn, reach = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.3)
        x, y = 0.5 + reach * np.cos(turn), 0.5 + reach * np.sin(turn)
        density = np.maximum(density, 0.5 * disc(x, y, 0.015 + 0.001 * number, SIDE))
    return np.asarray(density * (1 + 0.1 * grain(SIDE)))


SCENES = {"spheroid": spheroid, "burst": burst}


def planes_of(name: str) -> npt.NDArray[np.uint16]:
    """Return three focal planes of a scene, (3, SIDE, SIDE), of which the second is sharp."""
    sharp = expose(SCENES[name]())
    return np.stack([cv2.GaussianBlur(sharp, (0, 0), sigma) for sigma in (3.0, 0.1, 5.0)])


def pinned(found: TissueAnalysis) -> dict[str, float]:
    """Return the measures of an image and its sharpest plane, rounded for the file."""
    values = {"sharpest_plane": found.quality.sharpest_plane, **found.measures}
    return {name: float(f"{value:.6g}") for name, value in sorted(values.items())}


SEGMENTERS: dict[str, Callable[[], Segmenter]] = {
    "classical": ClassicalSegmenter,
    "learned": lambda: OnnxSegmenter(load_segmenter(shipped_segmenter())),
}


@pytest.fixture(scope="module", params=SEGMENTERS)
def segmenter(request: pytest.FixtureRequest) -> Segmenter:
    return SEGMENTERS[request.param]()


@pytest.mark.parametrize("name", SCENES)
def test_a_method_that_measures_a_drawn_image_differently_has_a_new_version(
    segmenter: Segmenter, name: str
) -> None:
    found = analyse_tissue(planes_of(name), UM_PER_PX, TissueMethod(segmenter))
    expected = json.loads(PINNED.read_text()).get(found.measured_by, {}).get(name, {})
    assert pinned(found) == pytest.approx(expected, rel=2e-3, abs=1e-4), WHAT_TO_DO.format(
        method=found.measured_by, name=name
    )


def write_pinned() -> None:
    """Write the measures of each scene by each segmenter to the file."""
    measures: dict[str, dict[str, dict[str, float]]] = {}
    for open_segmenter in SEGMENTERS.values():
        for name in SCENES:
            found = analyse_tissue(planes_of(name), UM_PER_PX, TissueMethod(open_segmenter()))
            measures.setdefault(found.measured_by, {})[name] = pinned(found)
    PINNED.write_text(json.dumps(measures, indent=2) + "\n")


if __name__ == "__main__":
    write_pinned()
