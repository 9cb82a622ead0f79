import numpy as np
import pytest

from acquisition.quality import assess
from benchmarks.grain_distortion import CHANGES, MIDDLE, measure
from inference.tissue.ranked_measures import RANKED_MEASURES
from schemas.arrays import Float64Array
from simulation.microscope import VirtualMicroscope
from simulation.plate import READOUT_DAY, plan_plate
from training.evaluation.virtual_images import virtual_image

pytestmark = pytest.mark.train

GRAIN = RANKED_MEASURES.index("log_grain_fine")
DENSITY = RANKED_MEASURES.index("od_mean")
AREA = RANKED_MEASURES.index("log_area")


@pytest.fixture(scope="module")
def changed() -> dict[str, Float64Array]:
    """Measures of an untreated virtual well, without and with each change of its colours."""
    scope = VirtualMicroscope(plan_plate(31), 256)
    plan = next(each for each in scope.plate.wells if not each.treatment)
    image = virtual_image(scope, plan, READOUT_DAY)
    sharpest = assess(image.planes).sharpest_plane
    planes = (image.planes[[0, sharpest, 2]] / 65535).astype(np.float32)
    assert planes[MIDDLE].mean() > 0.2
    changes = {"none": lambda planes: planes, **CHANGES}
    return {name: measure(change(planes), scope.um_per_px) for name, change in changes.items()}


def test_contrast_and_blur_remove_grain_and_an_exchange_of_planes_changes_it_least(
    changed: dict[str, Float64Array],
) -> None:
    shift = {name: values[GRAIN] - changed["none"][GRAIN] for name, values in changed.items()}
    assert shift["contrast × 0.2"] < -0.5
    assert shift["blur"] < -0.5
    assert abs(shift["hue by a third"]) < abs(shift["blur"])


def test_contrast_changes_the_density_and_no_change_of_colours_the_area(
    changed: dict[str, Float64Array],
) -> None:
    assert changed["contrast × 0.2"][DENSITY] < 0.5 * changed["none"][DENSITY]
    for name in ("saturation × 0.2", "hue by a third", "grey"):
        assert changed[name][AREA] == pytest.approx(changed["none"][AREA], abs=0.1)
