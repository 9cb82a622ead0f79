"""The classical segmenter on drawn shapes, virtual wells and real wells."""

import csv

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from acquisition.drop_folder.image_reading import read_image
from inference.tissue.classical_segmenter import ClassicalSegmenter
from schemas.tissue import Segmentation, Unsure
from simulation.microscope import Fault, virtual_microscopes
from tests.drawn_planes import SIDE, Plane, dice, disc, expose
from tests.real_data import real_data


def segment(plane: Plane) -> Segmentation:
    return ClassicalSegmenter().segment(plane, None)


def ramp(darkest: float, brightest: float) -> npt.NDArray[np.float64]:
    return np.tile(np.linspace(darkest, brightest, SIDE), (SIDE, 1))


@pytest.mark.parametrize(("x", "radius"), [(0.5, 0.1), (0.3, 0.1), (0.5, 0.05), (0.5, 0.3)])
@pytest.mark.parametrize("density", [0.2, 0.6, 2.0])
def test_a_disc_is_outlined_at_any_position_and_density(
    x: float, radius: float, density: float
) -> None:
    truth = disc(x, 0.5, radius)
    found = segment(expose(density * truth))
    assert dice(found.body, truth) > 0.96
    assert found.body.shape == found.debris.shape == truth.shape
    assert Unsure.CUT not in found.unsure


def test_a_12_bit_image_that_was_not_stretched_gives_the_same_outline() -> None:
    truth = disc(0.5, 0.5, 0.12)
    plane = expose(0.6 * truth)
    assert dice(segment(plane >> 4).body, segment(plane).body) > 0.995


def test_light_that_falls_to_a_third_across_the_field_hardly_changes_the_outline() -> None:
    truth = disc(0.45, 0.5, 0.12)
    found = segment(expose(0.6 * truth, ramp(0.25, 0.75)))
    assert dice(found.body, truth) > 0.96
    assert not found.unsure


def test_an_empty_well_has_no_area_in_even_or_tilted_light() -> None:
    for light in (0.6, ramp(0.2, 0.6)):
        found = segment(expose(np.zeros((SIDE, SIDE)), light))
        assert found.is_empty
        assert not found.unsure


def test_scattered_debris_alone_is_not_tissue() -> None:
    specks = np.zeros((SIDE, SIDE), dtype=bool)
    for x, y in np.random.default_rng(1).uniform(0.05, 0.95, (150, 2)):
        specks |= disc(x, y, 0.005)
    found = segment(expose(1.0 * specks))
    assert found.is_empty
    assert np.count_nonzero(found.debris & specks) > 0.5 * np.count_nonzero(specks)


def test_a_speck_beside_the_tissue_is_debris() -> None:
    truth, speck = disc(0.5, 0.5, 0.12), disc(0.8, 0.3, 0.008)
    found = segment(expose(0.6 * truth + 0.8 * speck))
    assert not (found.body & speck).any()
    assert (found.debris & speck).any()
    assert not (found.debris & truth).any()


def test_pieces_of_one_tissue_are_all_body() -> None:
    truth = disc(0.42, 0.5, 0.1) | disc(0.58, 0.6, 0.04) | disc(0.35, 0.66, 0.03)
    found = segment(expose(0.7 * truth))
    assert dice(found.body, truth) > 0.95


def test_a_smaller_object_far_away_is_excluded_and_reported() -> None:
    truth, other = disc(0.35, 0.4, 0.1), disc(0.9, 0.88, 0.047)
    found = segment(expose(0.7 * (truth | other)))
    assert dice(found.body, truth) > 0.96
    assert not (found.debris & other).any()
    assert Unsure.OTHER_OBJECT in found.unsure


def test_a_second_body_of_similar_size_far_away_is_tissue() -> None:
    truth = disc(0.35, 0.4, 0.1) | disc(0.9, 0.88, 0.075)
    found = segment(expose(0.7 * truth))
    assert dice(found.body, truth) > 0.96
    assert Unsure.OTHER_OBJECT not in found.unsure


def test_a_fibre_is_not_tissue() -> None:
    truth = disc(0.6, 0.6, 0.08)
    fibre = np.zeros((SIDE, SIDE), np.uint8)
    cv2.line(fibre, (0, 60), (220, 20), 1, 6)
    found = segment(expose(0.5 * truth + 2.0 * fibre))
    assert dice(found.body, truth) > 0.95


def test_the_rim_of_the_well_is_not_tissue() -> None:
    truth = disc(0.45, 0.5, 0.05)
    rim = ~disc(0.5, 0.5, 0.42) & disc(0.5, 0.5, 0.45)
    assert dice(segment(expose(0.6 * truth + 2.5 * rim)).body, truth) > 0.93
    assert segment(expose(2.5 * rim)).is_empty


def test_tissue_cut_by_the_border_is_outlined_and_reported_as_cut() -> None:
    truth = disc(1.0, 0.4, 0.15)
    found = segment(expose(0.6 * truth))
    assert dice(found.body, truth) > 0.95
    assert Unsure.CUT in found.unsure


def test_blur_hardly_moves_the_outline_and_is_reported() -> None:
    truth = disc(0.5, 0.5, 0.12)
    found = segment(cv2.GaussianBlur(expose(0.6 * truth), (0, 0), 10))
    assert dice(found.body, truth) > 0.95
    assert abs(np.count_nonzero(found.body) / np.count_nonzero(truth) - 1) < 0.1
    assert Unsure.BLURRED in found.unsure


def test_a_cloud_in_the_light_is_not_tissue() -> None:
    cloud = cv2.GaussianBlur(disc(0.3, 0.3, 0.1).astype(np.float32), (0, 0), 40)
    assert segment(expose(0.25 * cloud / cloud.max())).is_empty


def test_pale_tissue_with_a_dark_edge_is_outlined_as_a_whole() -> None:
    truth = disc(0.5, 0.5, 0.15)
    rim = truth & ~disc(0.5, 0.5, 0.14)
    grain = cv2.GaussianBlur(np.random.default_rng(2).normal(0, 1, (SIDE, SIDE)), (0, 0), 1.5)
    found = segment(expose(0.8 * rim + 0.15 * truth * grain / grain.std()))
    assert dice(found.body, truth) > 0.95


def test_outlines_do_not_depend_on_the_number_of_pixels() -> None:
    areas = [
        np.count_nonzero(segment(expose(0.6 * disc(0.5, 0.5, 0.12, side))).body) / side**2
        for side in (200, 400, 1000)
    ]
    assert np.ptp(areas) / np.mean(areas) < 0.04


def test_the_outline_of_a_reduced_plane_is_exact_between_its_pixels() -> None:
    side = 1536  # small bodies of 15 pixels in the reduced plane, whose border is a third of them
    bodies = np.logical_or.reduce(
        [disc(x, y, 0.03, side) for x, y in ((0.3, 0.3), (0.6, 0.35), (0.35, 0.65), (0.7, 0.7))]
    )
    optics = cv2.GaussianBlur(np.where(bodies, 0.7, 0).astype(np.float32), (0, 0), 2)
    assert dice(segment(expose(optics)).body, bodies) > 0.99


def test_black_padding_is_neither_tissue_nor_wall() -> None:
    truth = disc(0.5, 0.5, 0.12)
    plane = expose(0.6 * truth)
    plane[:12] = 0
    plane[:, -9:] = 0
    assert dice(segment(plane).body, truth) > 0.96


@pytest.mark.parametrize("value", [0, 1000, 65535])
def test_an_image_of_one_value_is_empty(value: int) -> None:
    assert segment(np.full((70, 110), value, np.uint16)).is_empty


def test_the_background_is_the_light_without_tissue() -> None:
    truth = disc(0.5, 0.5, 0.12)
    light = ramp(0.4, 0.6)
    background = cv2.resize(segment(expose(0.6 * truth, light)).background, (SIDE, SIDE))
    assert np.abs(background / (light * 65535) - 1)[truth].max() < 0.03


@pytest.mark.parametrize("seed", [51, 52, 53])
def test_virtual_wells_are_outlined_and_empty_wells_have_no_body(seed: int) -> None:
    (scope,) = virtual_microscopes(1, seed, 384)
    scores = []
    for number, day in enumerate((3, 5, 7, 9)):
        plan = scope.plate.wells[7 * number]
        view, empty = scope.render(plan, day), scope.render(plan, day, Fault.EMPTY)
        scores.append(dice(segment(view.planes[1]).body, view.mask))
        assert segment(empty.planes[1]).is_empty
    assert np.median(scores) > 0.95


def test_outlines_of_real_wells_agree_with_manual_annotations() -> None:
    folder = real_data("mls11_spheroids")
    paths = sorted((folder / "scribbles").glob("*.tif"))
    assert paths
    for path in paths:
        drawn = tifffile.imread(path)
        body = segment(
            read_image(folder / "images" / path.name.removeprefix("Annotation of ")).planes[0]
        ).body
        assert body[drawn == 2].mean() > 0.99
        assert body[drawn == 1].mean() < 0.05


def test_areas_of_real_wells_agree_with_the_published_areas() -> None:
    folder = real_data("spheroid_morpho_ml")
    with (folder / "image_to_table.csv").open(newline="") as file:
        known = {
            row["image"]: float(row["area_px2"])
            for row in csv.DictReader(file)
            if row["match"] == "exact"
        }
    ratios = np.array(
        [
            np.count_nonzero(segment(read_image(path).planes[0]).body) / known[path.name]
            for path in (folder / "images").iterdir()
            if path.name in known
        ]
    )
    assert np.median(np.abs(ratios / np.median(ratios) - 1)) < 0.02


def test_a_real_well_without_a_spheroid_is_empty() -> None:
    assert segment(
        read_image(real_data("spheroid_morpho_ml") / "images" / "image_19.tiff").planes[0]
    ).is_empty
