"""Fields are cut from a scene as a camera of any orientation sees it, and stitched again."""

from dataclasses import replace
from itertools import product

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from acquisition.microscope.fields import FieldPosition, well_fields
from acquisition.microscope.mosaic import Mosaic, check_agreement, stitch
from acquisition.microscope.plate_plan import WellPosition
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import Frame, FrameFormat
from schemas.errors import MicroscopeError
from tests.well_frames import TAKEN_AT

pytestmark = pytest.mark.micromanager

Scene = npt.NDArray[np.uint16]

UM_PER_PX = 2.0
WIDTH_PX, HEIGHT_PX = 100, 80
MIDDLE = WellPosition("B02", 21_000.0, 66_000.0)
UPRIGHT = (UM_PER_PX, 0.0, 0.0, -UM_PER_PX)
ORIENTATIONS = {
    "upright": UPRIGHT,
    "mirrored left to right": (-UM_PER_PX, 0.0, 0.0, -UM_PER_PX),
    "mirrored top to bottom": (UM_PER_PX, 0.0, 0.0, UM_PER_PX),
    "turned by 180°": (-UM_PER_PX, 0.0, 0.0, UM_PER_PX),
    "transposed": (0.0, -UM_PER_PX, UM_PER_PX, 0.0),
    "turned by 90°": (0.0, UM_PER_PX, UM_PER_PX, 0.0),
    "turned by 7°": tuple(
        UM_PER_PX * float(value)
        for value in (
            np.cos(np.radians(7)),
            np.sin(np.radians(7)),
            np.sin(np.radians(7)),
            -np.cos(np.radians(7)),
        )
    ),
}


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Return a scene in the orientation of the camera, larger than the fields of a well."""
    rng = np.random.default_rng(5)
    texture = cv2.GaussianBlur(rng.standard_normal((320, 400), dtype=np.float32), (0, 0), 3)
    texture *= np.float32(0.15 / texture.std())
    return np.asarray(30_000 * (1 + np.clip(texture, -0.6, 0.6)), np.uint16)


def settings(fields: tuple[int, int], overlap: float = 0.2) -> MicroscopeSettings:
    return MicroscopeSettings(
        config="",
        a1_um=(0.0, 0.0),
        fields=fields,
        fields_overlap=overlap,  # type: ignore[arg-type]  # no file
    )


def take_field(
    scene: Scene, camera: FrameFormat, x_um: float, y_um: float, *, z_um: float = 0.0
) -> Frame:
    """Return the frame of a scene whose middle is at MIDDLE, taken at a stage position."""
    moved_um = np.array([x_um - MIDDLE.x_um, y_um - MIDDLE.y_um])
    right, down = np.rint(np.linalg.solve(camera.stage_matrix, moved_um)).astype(int)
    left = scene.shape[1] // 2 - camera.width_px // 2 + right
    top = scene.shape[0] // 2 - camera.height_px // 2 + down
    pixels = scene[top : top + camera.height_px, left : left + camera.width_px]
    return Frame(pixels, x_um, y_um, z_um, 10.0, TAKEN_AT)


def take_all(
    scene: Scene, camera: FrameFormat, fields: tuple[FieldPosition, ...]
) -> list[list[Frame]]:
    """Return two planes of each field; the second one is darker."""
    return [
        [
            take_field(scene, camera, field.x_um, field.y_um),
            take_field(scene // 2, camera, field.x_um, field.y_um, z_um=45.0),
        ]
        for field in fields
    ]


def middle_of(scene: Scene, mosaic: Mosaic) -> Scene:
    """Return the part of a scene, around its middle, that a mosaic of this size shows."""
    height, width = mosaic.format.height_px, mosaic.format.width_px
    top, left = (scene.shape[0] - height) // 2, (scene.shape[1] - width) // 2
    return scene[top : top + height, left : left + width]


@pytest.mark.parametrize(
    ("orientation", "fields"),
    [*product(ORIENTATIONS.values(), [(2, 2)]), (UPRIGHT, (3, 1)), (UPRIGHT, (1, 2))],
)
def test_a_mosaic_equals_the_scene_under_any_orientation_of_the_camera(
    scene: Scene, orientation: tuple[float, float, float, float], fields: tuple[int, int]
) -> None:
    camera = FrameFormat(WIDTH_PX, HEIGHT_PX, 16, UM_PER_PX, orientation)
    stacks = take_all(scene, camera, well_fields(MIDDLE, settings(fields), camera))
    mosaic = stitch(stacks, camera)

    columns, rows = fields
    assert mosaic.format.width_px == round(WIDTH_PX * (1 + 0.8 * (columns - 1)))
    assert mosaic.format.height_px == round(HEIGHT_PX * (1 + 0.8 * (rows - 1)))
    assert mosaic.format.um_per_px == UM_PER_PX
    for plane, frame in zip((scene, scene // 2), mosaic.frames, strict=True):
        np.testing.assert_array_equal(frame.pixels, middle_of(plane, mosaic))
    assert [frame.z_um for frame in mosaic.frames] == [0.0, 45.0]
    assert mosaic.frames[0].x_um == pytest.approx(MIDDLE.x_um)
    assert mosaic.frames[0].y_um == pytest.approx(MIDDLE.y_um)
    check_agreement([stack[0] for stack in stacks], camera)


def test_fields_are_placed_where_the_stage_was_and_not_where_it_should_have_been(
    scene: Scene,
) -> None:
    camera = FrameFormat(WIDTH_PX, HEIGHT_PX, 16, UM_PER_PX, ORIENTATIONS["turned by 90°"])
    rng = np.random.default_rng(2)
    fields = [
        replace(
            field,
            x_um=field.x_um + UM_PER_PX * float(rng.integers(-4, 5)),
            y_um=field.y_um + UM_PER_PX * float(rng.integers(-4, 5)),
        )
        for field in well_fields(MIDDLE, settings((2, 2)), camera)
    ]
    mosaic = stitch(take_all(scene, camera, tuple(fields)), camera)

    frame = mosaic.frames[0]
    moved_um = (frame.x_um - MIDDLE.x_um, frame.y_um - MIDDLE.y_um)
    right, down = np.linalg.solve(camera.stage_matrix, moved_um)
    height, width = frame.pixels.shape
    left, top = (
        round(size / 2 + move - length / 2)
        for size, move, length in zip(
            scene.shape[::-1], (right, down), (width, height), strict=True
        )
    )
    np.testing.assert_array_equal(frame.pixels, scene[top : top + height, left : left + width])
    assert height < round(HEIGHT_PX * 1.8) + 8
    assert width > WIDTH_PX * 1.7


def test_a_step_of_the_light_between_two_fields_is_blended(scene: Scene) -> None:
    camera = FrameFormat(WIDTH_PX, HEIGHT_PX, 16, UM_PER_PX, UPRIGHT)
    bright, dark = (
        [
            replace(
                take_field(scene, camera, 0, 0), pixels=np.full((80, 100), value, np.uint16), x_um=x
            )
        ]
        for value, x in ((1000, 0.0), (900, 160.0))
    )
    row = stitch([bright, dark], camera).frames[0].pixels[40].astype(int)
    assert (row[0], row[-1]) == (1000, 900)
    assert np.abs(np.diff(row)).max() < 15


def test_a_gap_between_two_fields_is_an_error_that_names_the_overlap(scene: Scene) -> None:
    camera = FrameFormat(WIDTH_PX, HEIGHT_PX, 16, UM_PER_PX, UPRIGHT)
    first, second = (
        [take_field(scene, camera, MIDDLE.x_um + x, MIDDLE.y_um)] for x in (-105.0, 105.0)
    )
    with pytest.raises(MicroscopeError, match=r"have a gap .*fields_overlap"):
        stitch([first, second], camera)


@pytest.mark.parametrize("name", [each for each in ORIENTATIONS if each != "turned by 7°"])
def test_fields_that_disagree_name_the_orientation_under_which_they_agree(
    scene: Scene, name: str
) -> None:
    """The configuration says that the camera is upright, and it is not."""
    assumed = FrameFormat(WIDTH_PX, HEIGHT_PX, 16, UM_PER_PX, UPRIGHT)
    real = replace(assumed, to_stage=ORIENTATIONS[name])
    frames = [
        take_field(scene, real, field.x_um, field.y_um)
        for field in well_fields(MIDDLE, settings((2, 2), overlap=0.4), assumed)
    ]
    if name == "upright":
        check_agreement(frames, assumed)
        return
    with pytest.raises(MicroscopeError, match=r"differ where they overlap .*they agree") as error:
        check_agreement(frames, assumed)
    assert name in str(error.value)


def test_fields_without_tissue_where_they_overlap_are_not_compared() -> None:
    camera = FrameFormat(WIDTH_PX, HEIGHT_PX, 16, UM_PER_PX, UPRIGHT)
    rng = np.random.default_rng(1)
    frames = [
        Frame(
            (30_000 + rng.normal(0, 150, (80, 100))).astype(np.uint16), x, 0.0, 0.0, 10.0, TAKEN_AT
        )
        for x in (0.0, 160.0)
    ]
    check_agreement(frames, camera)
