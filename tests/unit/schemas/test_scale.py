"""Decision between the scale of a plate map and the scales of the files."""

import pytest

from schemas.scale import FileScale, agree, decide_scale, distinct_scales
from tests.samples import plate_map

OME, TAGS = FileScale(2.72461, "OME-XML"), FileScale(1.36, "TIFF resolution tags")


@pytest.mark.parametrize(
    ("of_map", "decided_by", "files", "um_per_px", "source"),
    [
        (1.36, None, (), 1.36, "plate map"),
        (1.36, None, (TAGS,), 1.36, "plate map"),
        (2.72, None, (OME,), 2.72, "plate map"),  # the file's value is the rounded one or the exact
        (None, None, (OME,), 2.72461, "OME-XML"),
        (None, None, (), None, ""),
        (None, "file", (), None, ""),
        (None, "file", (OME,), 2.72461, "OME-XML"),
        (5.449, "file", (OME,), 2.72461, "OME-XML"),
        (5.449, "map", (OME,), 5.449, "plate map"),
        (5.449, "map", (OME, TAGS), 5.449, "plate map"),
        (5.449, "map", (), 5.449, "plate map"),
    ],
)
def test_a_scale_is_decided_by_map_or_files(
    of_map: float | None,
    decided_by: str | None,
    files: tuple[FileScale, ...],
    um_per_px: float | None,
    source: str,
) -> None:
    decided = decide_scale(plate_map(um_per_px=of_map, um_per_px_from=decided_by), files)
    assert (decided.um_per_px, decided.source, decided.problem) == (um_per_px, source, "")


@pytest.mark.parametrize(
    ("of_map", "decided_by", "files", "um_per_px", "problem"),
    [
        (
            5.449,
            None,
            (OME,),
            5.449,
            (
                "the file says 2.72461 µm per pixel (OME-XML), the plate map 5.449 µm per pixel; "
                'expected um_per_px_from = "file" or "map" in the plate map'
            ),
        ),
        (
            None,
            None,
            (OME, TAGS),
            2.72461,
            (
                "its files say 2.72461 µm per pixel (OME-XML) and 1.36 µm per pixel "
                '(TIFF resolution tags); expected um_per_px and um_per_px_from = "map" in the '
                "plate map"
            ),
        ),
        (1.36, None, (TAGS, OME), 1.36, "its files say 1.36 µm per pixel"),
        (5.449, "file", (OME, TAGS), 2.72461, "its files say 2.72461 µm per pixel"),
        (
            5.449,
            "file",
            (),
            5.449,
            (
                'the files have no scale, and um_per_px_from in the plate map is "file" (its '
                'um_per_px is 5.449); expected files with a scale, or um_per_px_from = "map"'
            ),
        ),
    ],
)
def test_a_contradiction_is_named_with_both_values_and_sources(
    of_map: float | None,
    decided_by: str | None,
    files: tuple[FileScale, ...],
    um_per_px: float,
    problem: str,
) -> None:
    decided = decide_scale(plate_map(um_per_px=of_map, um_per_px_from=decided_by), files)
    assert decided.um_per_px == um_per_px
    assert decided.problem.startswith(problem)


def test_rounding_is_no_contradiction_and_the_next_binning_is_one() -> None:
    assert agree(2.72461, 2.72)
    assert agree(1.3622, 1.36)
    assert agree(10_000 / round(10_000 / 1.3622), 1.3622)  # whole pixels per centimetre
    assert not agree(2.72461, 5.449)
    assert not agree(1.0, 1.25)
    assert agree(None, None)
    assert not agree(None, 1.36)


def test_the_planes_of_a_set_may_lack_the_scale_that_the_first_one_has() -> None:
    assert distinct_scales([None, OME, None, OME]) == (OME,)
    assert distinct_scales([TAGS, OME]) == (TAGS, OME)
    assert distinct_scales([None]) == ()
