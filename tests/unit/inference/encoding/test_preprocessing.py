import cv2
import numpy as np
import numpy.typing as npt
import pytest

from inference.encoding.preprocessing import (
    FUSION_NOISE,
    FUSION_POWER,
    FUSION_PX,
    SHORTER_SIDE,
    Crop,
    channel_planes,
    fitting_crop,
    fuse_planes,
    preprocess,
)
from schemas.encoder_bundle import PlanePolicy, Preprocessing

SIDE = 96


def settings(**changes: object) -> Preprocessing:
    fields: dict[str, object] = {
        "planes": PlanePolicy.SHARPEST_NEIGHBOURS,
        "background": 0.5,
        "mean": (0.0, 0.0, 0.0),
        "std": (1.0, 1.0, 1.0),
    }
    return Preprocessing.model_validate(fields | changes)


def disc(
    side_px: int, *, level: int = 40000, radius: float = 0.2, planes: int = 3
) -> npt.NDArray[np.uint16]:
    """Return equal planes, (planes, side, side), of a disc half as bright as the background.

    ``radius`` is a share of the side.
    """
    y, x = np.indices((side_px, side_px)) - (side_px - 1) / 2
    image = np.where(np.hypot(x, y) < radius * side_px, level // 2, level)
    return np.broadcast_to(image, (planes, side_px, side_px)).astype(np.uint16)


@pytest.mark.parametrize(
    ("plane_count", "sharpest", "channels"),
    [
        (1, 0, (0, 0, 0)),
        (3, 0, (0, 0, 1)),
        (3, 1, (0, 1, 2)),
        (3, 2, (1, 2, 2)),
        (11, 6, (5, 6, 7)),
    ],
)
def test_the_sharpest_plane_is_between_its_neighbours_and_replaces_missing_ones(
    plane_count: int, sharpest: int, channels: tuple[int, int, int]
) -> None:
    assert channel_planes(plane_count, sharpest, PlanePolicy.SHARPEST_NEIGHBOURS) == channels


def test_the_sharpest_plane_alone_fills_every_channel() -> None:
    assert channel_planes(11, 6, PlanePolicy.SHARPEST) == (6, 6, 6)


def half_sharp_planes() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return a sharp image (h, w), and planes (2, h, w) that are blurred left and right."""
    grain = np.random.default_rng(0).normal(60.0, 10.0, (SIDE, SIDE)).astype(np.float32)
    blurred = cv2.GaussianBlur(grain, (0, 0), 3)
    left = np.arange(SIDE)[None] < SIDE // 2
    return grain, np.stack([np.where(left, blurred, grain), np.where(left, grain, blurred)])


def test_fused_planes_are_sharp_where_one_of_them_is() -> None:
    grain, planes = half_sharp_planes()
    inner = np.r_[8 : SIDE // 2 - 12, SIDE // 2 + 12 : SIDE - 8]
    error = np.abs(fuse_planes(planes) - grain)[8:-8, inner].mean()
    assert error < 0.05 * np.abs(planes[0] - grain)[8:-8, 8 : SIDE // 2 - 12].mean()


def test_each_fused_pixel_is_the_mean_weighted_by_the_energy_of_the_laplacian() -> None:
    _, planes = half_sharp_planes()
    fused = fuse_planes(planes)
    reach, noise = np.arange(SIDE), (FUSION_NOISE * float(planes.max())) ** 2
    assert planes.max() > 1
    for y, x in ((40, 40), (50, 48), (30, 60)):
        gauss = np.exp(-((reach[:, None] - y) ** 2 + (reach[None] - x) ** 2) / (2 * FUSION_PX**2))
        energies = []
        for plane in planes.astype(np.float64):
            laplacian = -4 * plane[1:-1, 1:-1]
            laplacian += plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:]
            weight = gauss[1:-1, 1:-1]
            energies.append((laplacian**2 * weight).sum() / weight.sum() + noise)
        weights = np.array(energies) ** FUSION_POWER
        expected = (planes[:, y, x] * weights).sum() / weights.sum()
        assert fused[y, x] == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("plane_count", [1, 2, 5])
def test_any_number_of_planes_is_fused_into_three_equal_channels(plane_count: int) -> None:
    fused = settings(planes=PlanePolicy.EXTENDED_DEPTH)
    pixels = preprocess(disc(128, planes=plane_count), 0, None, fused, SIDE)
    assert pixels.shape == (3, SIDE, SIDE)
    assert (pixels[0] == pixels[1]).all()
    assert (pixels[0] == pixels[2]).all()
    # Equal planes give the plane itself.
    alone = settings(planes=PlanePolicy.SHARPEST)
    assert pixels == pytest.approx(preprocess(disc(128), 0, None, alone, SIDE), abs=1e-5)


@pytest.mark.parametrize("plane_count", [1, 2, 11])
def test_three_planes_refuses_any_other_number(plane_count: int) -> None:
    with pytest.raises(ValueError, match=f"{plane_count} planes; .* needs exactly 3"):
        channel_planes(plane_count, 0, PlanePolicy.THREE_PLANES)


def test_a_sharpest_plane_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="sharpest plane is 3; expected 0…2"):
        channel_planes(3, 3, PlanePolicy.SHARPEST)


def test_each_channel_shows_its_own_plane() -> None:
    planes = np.stack([np.full((SIDE, SIDE), level, np.uint16) for level in (10000, 20000, 40000)])
    pixels = preprocess(planes, 1, None, settings(), SIDE)
    assert pixels[:, 0, 0] == pytest.approx([0.125, 0.25, 0.5])


@pytest.mark.parametrize("level", [65535, 40000, 4000, 400])
def test_the_background_has_the_same_value_at_every_brightness_of_the_lamp(level: int) -> None:
    pixels = preprocess(disc(128, level=level), 1, None, settings(background=0.7), SIDE)
    assert pixels.dtype == np.float32
    assert pixels[0, 2, 2] == pytest.approx(0.7, abs=2e-3)
    assert pixels[0, SIDE // 2, SIDE // 2] == pytest.approx(0.35, abs=2e-3)


def test_tissue_on_more_than_half_of_the_field_does_not_change_the_background() -> None:
    pixels = preprocess(disc(128, radius=0.45), 1, None, settings(), SIDE)  # 64 % of the field
    assert pixels[0, 2, 2] == pytest.approx(0.5, abs=1e-3)


def test_glare_is_clipped_and_a_black_image_stays_black() -> None:
    planes = disc(128, level=10000)
    planes[:, 60:68, 60:68] = 65535
    assert preprocess(planes, 1, None, settings(), SIDE).max() == 1.0
    assert not preprocess(np.zeros((3, 128, 128), np.uint16), 1, None, settings(), SIDE).any()


def test_normalisation_subtracts_the_mean_and_divides_by_the_deviation_of_each_channel() -> None:
    pixels = preprocess(
        np.full((1, 128, 128), 30000, np.uint16),
        0,
        None,
        settings(mean=(0.5, 0.25, 0.0), std=(1.0, 0.5, 0.25)),
        SIDE,
    )
    assert pixels[:, 5, 5] == pytest.approx([0.0, 0.5, 2.0])


@pytest.mark.parametrize("side_px", [64, 96, 500, 2048])
def test_the_whole_field_fills_the_input_at_every_camera_size(side_px: int) -> None:
    pixels = preprocess(disc(side_px), 1, None, settings(), SIDE)
    assert pixels.shape == (3, SIDE, SIDE)
    assert float((pixels[0] < 0.375).mean()) == pytest.approx(np.pi * 0.2**2, abs=0.01)


@pytest.mark.parametrize("axis", [1, 2])
def test_an_oblong_image_without_a_scale_is_cropped_to_its_shorter_side(axis: int) -> None:
    square = disc(200)
    borders = [(0, 0), (0, 0), (0, 0)]
    borders[axis] = (50, 50)
    oblong = np.pad(square, borders, constant_values=10000)
    assert np.array_equal(
        preprocess(oblong, 1, None, settings(), SIDE), preprocess(square, 1, None, settings(), SIDE)
    )
    assert fitting_crop(oblong.shape[1:], None, 900.0) == Crop(200, SHORTER_SIDE)


def test_the_field_is_cropped_in_micrometres_if_the_scale_is_known() -> None:
    fine, coarse = disc(400, radius=0.1), disc(200, radius=0.1)
    of_fine = preprocess(fine, 1, 1.0, settings(field_um=200.0), SIDE)
    of_coarse = preprocess(coarse, 1, 2.0, settings(field_um=200.0), SIDE)
    assert float((of_fine[0] < 0.375).mean()) == pytest.approx(np.pi * 0.2**2, abs=0.01)
    assert np.abs(of_fine - of_coarse).mean() < 0.01


def test_without_a_scale_the_whole_image_is_the_field() -> None:
    planes = disc(200)
    assert np.array_equal(
        preprocess(planes, 1, None, settings(field_um=50.0), SIDE),
        preprocess(planes, 1, None, settings(), SIDE),
    )


@pytest.mark.parametrize("side_px", [64, 70, 96, 99])
def test_a_field_larger_than_the_image_is_replaced_by_one_without_padding(side_px: int) -> None:
    row, column = np.indices((side_px, side_px))
    planes = np.broadcast_to(20000 + 20000 * ((row + column) % 2), (3, side_px, side_px))
    crop = fitting_crop(planes.shape[1:], 1.0, 100.0)
    assert side_px / 1.1 < crop.side_px <= side_px
    pixels = preprocess(planes.astype(np.uint16), 1, 1.0, settings(field_um=100.0), SIDE)
    for border in (pixels[0, 0], pixels[0, -1], pixels[0, :, 0], pixels[0, :, -1]):
        assert border.std() > 0.02  # padding would be one constant value


@pytest.mark.parametrize(
    ("shape", "um_per_px", "crop"),
    [
        ((1000, 1000), 0.9, Crop(1000, None)),
        ((2048, 2048), 0.45, Crop(2000, None)),
        ((1998, 1998), 0.45, Crop(1834, "825um")),
        ((720, 720), 1.0, Crop(694, "694um")),
        ((740, 1000), 1.0, Crop(694, "694um")),
        ((64, 64), 1.0, Crop(61, "61um")),
    ],
)
def test_a_smaller_field_has_a_name_and_slightly_different_widths_have_the_same_field(
    shape: tuple[int, int], um_per_px: float, crop: Crop
) -> None:
    assert fitting_crop(shape, um_per_px, 900.0) == crop


def test_a_thumbnail_is_refused_with_its_size() -> None:
    with pytest.raises(ValueError, match="16×16 pixels; the encoder needs at least 64×64"):
        preprocess(np.zeros((3, 16, 16), np.uint16), 1, None, settings(), SIDE)
