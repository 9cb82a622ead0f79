"""Two wells that look alike are not taken for one well that is imaged twice."""

from dataclasses import replace
from typing import Any, cast

import cv2
import numpy as np
import pytest

from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.pictures import SAME_PICTURE, common_detail, likeness
from acquisition.microscope.place_watch import PlaceWatch
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.visit_pictures import make_pictures
from acquisition.ports import Frame, Microscope
from schemas.errors import MicroscopeError
from tests.well_frames import well_frames

pytestmark = pytest.mark.micromanager

WELLS = [f"B{column:02d}" for column in range(2, 11)]
POSITIONS = {well: WellPosition(well, 9000.0 * number, 0.0) for number, well in enumerate(WELLS)}


class MovingStage:
    """The part of a microscope that moves the stage."""

    def move_to(self, x_um: float, y_um: float) -> None:
        """Accept the move to a position in µm."""


def texture(seed: int) -> np.ndarray:
    """Return random detail of 256×256 pixels in the band of pictures."""
    noise = np.random.default_rng(seed).normal(0, 1, (256, 256))
    smooth = cv2.GaussianBlur(noise, (0, 0), 2.5)
    return np.asarray(smooth / smooth.std())


def image_of(detail: np.ndarray, seed: int) -> list[WellFrames]:
    """Return the image of a well with detail and camera noise."""
    noise = np.random.default_rng(seed).normal(0, 20, detail.shape)
    pixels = np.clip(2000 + 200 * detail + noise, 0, 4095).astype(np.uint16)
    visit = well_frames(planes=1)
    frame: Frame = replace(visit.frames[0], pixels=pixels)
    return [replace(visit, frames=(frame,))]


@pytest.mark.parametrize(("shown_by_last", "is_refused"), [("alike", False), ("same", True)])
def test_a_well_that_looks_like_another_one_is_not_taken_for_it(
    shown_by_last: str, *, is_refused: bool
) -> None:
    details: dict[str, Any] = {well: texture(number) for number, well in enumerate(WELLS[:-1])}
    first, last = WELLS[0], WELLS[-1]
    alike = 0.8 * details[first] + 0.6 * texture(99)
    watch = PlaceWatch(
        cast("Microscope", MovingStage()), POSITIONS, {}, {}, day_before=0, home_stage=False
    )
    for number, (well, detail) in enumerate(details.items()):
        watch.check(POSITIONS[well], image_of(detail, number), lambda _position: [])
    shown = image_of(alike if shown_by_last == "alike" else details[first], 50)
    common = common_detail(list(watch.today.values()))
    assert likeness(make_pictures(shown), watch.today[first], common) >= SAME_PICTURE

    def view(position: WellPosition) -> list[WellFrames]:
        return image_of(details[position.well], 70)

    if is_refused:
        with pytest.raises(MicroscopeError, match=f"{last} shows the picture of {first}"):
            watch.check(POSITIONS[last], shown, view)
    else:
        watch.check(POSITIONS[last], shown, view)
        assert last in watch.today
