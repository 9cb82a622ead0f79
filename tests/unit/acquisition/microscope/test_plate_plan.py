import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from acquisition.microscope.plate_plan import WellPosition, check_heights, plan_positions
from acquisition.microscope.settings import MicroscopeSettings
from schemas.errors import ConfigError
from schemas.well import INNER_60

pytestmark = pytest.mark.micromanager

SETTINGS = MicroscopeSettings(config=Path("MMConfig.cfg"), a1_um=(1000.0, 2000.0))


def refusal(wells: tuple[str, ...] = ("A01",), **changes: Any) -> ConfigError:  # noqa: ANN401 - any field of the settings
    with pytest.raises(ConfigError) as refused:
        plan_positions(replace(SETTINGS, **changes), wells)
    return refused.value


def test_wells_are_9_mm_apart_and_y_falls_from_row_to_row() -> None:
    assert plan_positions(SETTINGS, ["A01", "A02", "B02"]) == [
        WellPosition("A01", 1000, 2000),
        WellPosition("A02", 10_000, 2000),
        WellPosition("B02", 10_000, -7000),
    ]


def test_the_inner_60_wells_are_visited_in_serpentine_order() -> None:
    positions = plan_positions(SETTINGS, INNER_60)
    wells = [position.well for position in positions]
    assert wells[:3] == ["B02", "B03", "B04"]
    assert wells[9:13] == ["B11", "C11", "C10", "C09"]
    assert wells[-1] == "G02"
    assert set(wells) == set(INNER_60)
    steps = [math.dist((a.x_um, a.y_um), (b.x_um, b.y_um)) for a, b in pairwise(positions)]
    assert steps == pytest.approx([9000] * 59)


def test_an_empty_row_does_not_reverse_the_next_row() -> None:
    assert [
        position.well for position in plan_positions(SETTINGS, ["B03", "D02", "B02", "D03", "B02"])
    ] == ["B02", "B03", "D03", "D02"]


def test_a_rotation_turns_the_plate_anticlockwise_around_a1() -> None:
    turned = {
        position.well: position
        for position in plan_positions(replace(SETTINGS, rotation_deg=90.0), ["A01", "A02", "B01"])
    }
    assert (turned["A01"].x_um, turned["A01"].y_um) == pytest.approx((1000, 2000))
    assert (turned["A02"].x_um, turned["A02"].y_um) == pytest.approx((1000, 11_000))
    assert (turned["B01"].x_um, turned["B01"].y_um) == pytest.approx((10_000, 2000))


@pytest.mark.parametrize(
    ("plate", "spacing_um", "expected_um"),
    [(384, None, 4500), (24, None, 19_000), (24, 18_000.0, 18_000)],
)
def test_plates_of_other_sizes_have_their_standard_spacing_unless_one_is_set(
    plate: int, spacing_um: float | None, expected_um: float
) -> None:
    first, second = plan_positions(
        replace(SETTINGS, plate=plate, spacing_um=spacing_um), ["A01", "A02"]
    )
    assert second.x_um - first.x_um == pytest.approx(expected_um)


def test_every_well_outside_the_plate_is_named_in_the_error() -> None:
    error = refusal(("B02", "P24", "H13"))
    assert error.where == "source.micromanager.plate"
    assert error.problem == "is 96, whose last well is H12; expected a plate that has P24, H13"


def test_every_well_outside_the_stage_limits_is_named_with_its_position() -> None:
    error = refusal(("A01", "A12", "H01"), stage_limits_um=(0.0, -50_000.0, 90_000.0, 10_000.0))
    assert error.where == "source.micromanager.stage_limits_um"
    assert "A12 at (100000, 2000) µm, H01 at (1000, -61000) µm" in error.problem
    assert "A01" not in error.problem


def test_wells_exactly_at_the_stage_limits_are_allowed() -> None:
    assert (
        len(
            plan_positions(
                replace(SETTINGS, stage_limits_um=(1000.0, -7000.0, 10_000.0, 2000.0)),
                ["A01", "A02", "B01", "B02"],
            )
        )
        == 4
    )


@pytest.mark.parametrize(
    ("changes", "key", "message"),
    [
        ({"a1_um": (math.nan, 0.0)}, "a1_um", "(nan, 0.0); expected two finite"),
        ({"a1_um": (0.0, -math.inf)}, "a1_um", "expected two finite"),
        (
            {"a1_um": (1000.0, 2000.0), "stage_limits_um": (0.0, 0.0, 500.0, 9000.0)},
            "a1_um",
            "is (1000, 2000) µm; expected a position within",
        ),
        ({"plate": 60}, "plate", "is 60 wells; expected one of 6, 12, 24, 48, 96, 384, 1536"),
        ({"spacing_um": 0.0}, "spacing_um", "expected µm between neighbouring wells"),
        ({"rotation_deg": math.nan}, "rotation_deg", "expected a finite angle"),
        (
            {"stage_limits_um": (9000.0, 0.0, 0.0, 9000.0)},
            "stage_limits_um",
            "expected x from, y from, x to, y to",
        ),
    ],
)
def test_a_wrong_setting_is_refused_with_its_key(
    changes: dict[str, Any], key: str, message: str
) -> None:
    error = refusal(**changes)
    assert error.where == f"source.micromanager.{key}"
    assert message in error.problem


def test_all_wrong_settings_are_listed_in_one_error() -> None:
    error = refusal(plate=1, spacing_um=-1.0, a1_um=(math.inf, 0.0))
    assert [where.rpartition(".")[2] for where, _ in error.problems] == [
        "plate",
        "a1_um",
        "spacing_um",
    ]


def test_heights_outside_the_limits_of_the_focus_drive_are_refused() -> None:
    limited = replace(SETTINGS, z_limits_um=(-100.0, 100.0))
    check_heights(limited, (-100.0, 0.0, 100.0))
    check_heights(SETTINGS, (-1e6,))
    with pytest.raises(ConfigError, match=r"outside are -100\.5, 250\.0 µm"):
        check_heights(limited, (-100.5, 0.0, 250.0))
    with pytest.raises(ConfigError, match="the lower limit first"):
        check_heights(replace(SETTINGS, z_limits_um=(5.0, -5.0)), (0.0,))
    with pytest.raises(ConfigError, match="expected finite"):
        check_heights(SETTINGS, (math.nan,))
