"""Plans of useq-schema as input and output: nothing is ignored, and both give the same images."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import useq
import yaml

from acquisition.channels import Channel
from acquisition.microscope.plate_plan import plan_positions
from acquisition.microscope.settings import Focusing, MicroscopeSettings, WellOrder
from acquisition.microscope.useq_plans import (
    export_plan,
    read_plan,
    settings_of_plan,
    write_plan,
)
from schemas.errors import ConfigError
from schemas.well import row_column

pytestmark = pytest.mark.micromanager

SETTINGS = MicroscopeSettings(
    config=Path("MMConfig.cfg"), a1_um=(12_000.0, 75_000.0), channel="Channel:BF", planes=3
)
PLATE = {
    "plate": "96-well",
    "a1_center_xy": [12_000, 75_000],
    "rotation": "0.5°",
    "selected_wells": [[1, 1, 2], [2, 1, 1]],
}
SEQUENCE = {
    "stage_positions": PLATE,
    "z_plan": {"range": 80, "step": 40},
    "channels": [{"config": "BF", "exposure": 12}],
    "autofocus_plan": {"axes": ["p"]},
    "keep_shutter_open_across": ["z"],
    "metadata": {"who": "me"},
}


def write(folder: Path, plan: object) -> Path:
    path = folder / "plan.yaml"
    path.write_text(yaml.safe_dump(plan))
    return path


def planned(folder: Path, plan: object, *given: str) -> MicroscopeSettings:
    """Return the settings of a plan for a configuration that sets some keys and the planes."""
    return settings_of_plan(SETTINGS, read_plan(write(folder, plan)), {*given, "a1_um", "planes"})


def test_a_sequence_sets_plate_wells_planes_channel_exposure_and_autofocus(tmp_path: Path) -> None:
    assert planned(tmp_path, SEQUENCE) == replace(
        SETTINGS,
        rotation_deg=0.5,
        plan_wells=("B03", "B02", "C02"),
        plane_step_um=40.0,
        exposure_ms=12.0,
        focusing=Focusing.HARDWARE,
    )


def test_a_plate_plan_alone_leaves_planes_and_channel_as_they_are(tmp_path: Path) -> None:
    settings = planned(tmp_path, PLATE, "exposure_ms", "channel")
    assert settings == replace(SETTINGS, rotation_deg=0.5, plan_wells=("B03", "B02", "C02"))
    wells = [each.well for each in plan_positions(settings, ["C02", "B03"])]
    assert wells == ["B03", "C02"]
    with pytest.raises(ConfigError, match=r"source.micromanager.plan: visits no B05; expected"):
        plan_positions(settings, ["B05", "B02"])


def test_positions_named_by_their_wells_are_a_plan_too(tmp_path: Path) -> None:
    positions = [
        {"name": "B3", "x": 30_010.0, "y": 66_000.0, "z": 3100},
        {"name": "A01", "x": 12_000.0, "y": 75_000.0, "z": 3100},
    ]
    settings = planned(tmp_path, {**SEQUENCE, "stage_positions": positions})
    assert (settings.plan_wells, settings.focus_z_um) == (("B03", "A01"), 3100.0)
    positions[0]["x"] = 30_100.0
    with pytest.raises(ConfigError, match=r"stage_positions.0: is B03 at \(30100, 66000\) µm; exp"):
        planned(tmp_path, {**SEQUENCE, "stage_positions": positions})


def test_further_channels_have_the_exposure_offset_and_planes_of_the_plan(tmp_path: Path) -> None:
    channels = [
        {"config": "BF", "exposure": 12},
        {"config": "FITC 488", "exposure": 150, "z_offset": 7.5, "do_stack": False},
        {"group": "Stain", "config": "Cy5", "exposure": 80},
    ]
    settings = planned(tmp_path, {**SEQUENCE, "channels": channels})
    assert (settings.channel, settings.exposure_ms) == ("Channel:BF", 12.0)
    assert settings.channels == (
        Channel(name="FITC-488", preset="Channel:FITC 488", exposure_ms=150, offset_um=7.5),
        Channel(name="Cy5", preset="Stain:Cy5", exposure_ms=80, planes=3, plane_step_um=40),
    )


def test_bright_field_is_the_channel_of_the_configuration_wherever_the_plan_lists_it(
    tmp_path: Path,
) -> None:
    channels = [{"config": "Cy5", "exposure": 80, "do_stack": False}, {"config": "BF"}]
    plan = {**SEQUENCE, "channels": channels}
    settings = planned(tmp_path, plan, "channel")
    assert settings.channel == "Channel:BF"
    assert [each.preset for each in settings.channels] == ["Channel:Cy5"]
    with pytest.raises(ConfigError, match=r"channels.0.do_stack: is false; expected all planes of"):
        planned(tmp_path, plan)  # the first channel is bright field


def test_a_channel_of_the_configuration_keeps_its_name_and_days_and_must_not_be_contradicted(
    tmp_path: Path,
) -> None:
    stain = Channel(name="calcein", preset="Channel:FITC", exposure_ms=150, days="readout")
    base = replace(SETTINGS, channels=(stain,))
    fitc = {"config": "FITC", "exposure": 150, "do_stack": False}

    def settings(*further: dict[str, Any]) -> MicroscopeSettings:
        plan = {**SEQUENCE, "channels": [{"config": "BF"}, *further]}
        given = {"channel", "channels", "a1_um", "planes"}
        return settings_of_plan(base, read_plan(write(tmp_path, plan)), given)

    assert settings(fitc).channels == settings().channels == (stain,)
    with pytest.raises(ConfigError, match=r"channels.1.exposure: gives exposure_ms = 90.0, and"):
        settings({**fitc, "exposure": 90})
    with pytest.raises(ConfigError, match=r"channels.1.do_stack: gives planes = 3, and"):
        settings({**fitc, "do_stack": True})
    with pytest.raises(ConfigError, match=r"channels.1: is Channel:Cy5, and .*channels has none"):
        settings({**fitc, "config": "Cy5"})


@pytest.mark.parametrize("field", ["grid_plan", "stage_positions.well_points_plan"])
def test_a_grid_of_the_plan_gives_the_fields_of_each_well(tmp_path: Path, field: str) -> None:
    settings = planned(tmp_path, changed(field, {**GRID, "columns": 3}))
    assert (settings.fields, settings.fields_overlap) == ((3, 2), 0.1)
    one = planned(tmp_path, changed(field, {"rows": 1, "columns": 1}))
    assert (one.fields, one.fields_overlap) == ((1, 1), SETTINGS.fields_overlap)


def test_a_time_plan_with_one_time_point_is_accepted(tmp_path: Path) -> None:
    plan = changed("time_plan", {"interval": 60, "loops": 1})
    assert planned(tmp_path, plan) == planned(tmp_path, SEQUENCE)


def test_channels_and_fields_are_exported_and_read_back(tmp_path: Path) -> None:
    settings = replace(
        SETTINGS,
        plan_wells=("B02",),
        fields=(2, 3),
        fields_overlap=0.15,
        channels=(
            Channel(name="FITC", preset="Channel:FITC", exposure_ms=150, offset_um=-4),
            Channel(name="Cy5", preset="Stain:Cy5", exposure_ms=80, planes=3),
        ),
    )
    path = tmp_path / "plan.yaml"
    write_plan(path, export_plan(settings, [(2, 2)], "P1"))
    images = [each for each in useq.MDASequence.from_file(path) if each.exposure]
    counts = {
        name: len([each for each in images if each.channel.config == name])
        for name in ("BF", "FITC", "Cy5")
    }
    assert counts == {"BF": 18, "FITC": 6, "Cy5": 18}
    assert settings_of_plan(SETTINGS, read_plan(path), {"a1_um", "planes"}) == settings


@pytest.mark.parametrize(("planes", "of_channel"), [(3, 5), (4, 1)])
def test_planes_of_a_channel_that_a_sequence_cannot_have_are_not_exported(
    planes: int, of_channel: int
) -> None:
    stain = Channel(name="stain", preset="Channel:FITC", exposure_ms=9, planes=of_channel)
    settings = replace(SETTINGS, planes=planes, channels=(stain,))
    with pytest.raises(ConfigError, match=rf"channels, stain: has {of_channel} planes, 45 µm"):
        export_plan(settings, [(2, 2)], "P1")


def changed(path: str, value: object) -> dict[str, Any]:
    """Return the sequence with another value of a field, by its path such as ``z_plan.step``."""
    plan = json.loads(json.dumps(SEQUENCE))
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place = plan
    for parent in parents:
        place = place[parent]
    place[last] = value
    return dict(plan)


GRID = {"rows": 2, "columns": 2, "overlap": 10}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "times": (
        changed("time_plan", {"interval": 60, "loops": 3}),
        "several time points (TIntervalLoops); expected one time point: the keys source.microm",
    ),
    "two grids": (
        {**changed("stage_positions.well_points_plan", GRID), "grid_plan": GRID},
        "grid_plan: is set besides stage_positions.well_points_plan; expected one of them",
    ),
    "grid without overlap": (
        changed("grid_plan", {"rows": 2, "columns": 2}),
        "grid_plan.overlap: is 0 and 0 %; expected equal overlaps of 2 to 50 %",
    ),
    "grid of edges": (
        changed("grid_plan", {"top": 1, "bottom": 0, "left": 0, "right": 1}),
        "grid_plan: is a GridFromEdges; expected rows and columns of a grid around the middle",
    ),
    "grid at a corner": (
        changed("grid_plan", {**GRID, "relative_to": "top_left"}),
        "grid_plan.relative_to: is top_left; expected center",
    ),
    "spiral": (
        changed("grid_plan", {**GRID, "mode": "spiral"}),
        "grid_plan.mode: is spiral; expected row_wise_snake",
    ),
    "field of view": (
        changed("grid_plan", {**GRID, "fov_width": 900}),
        "grid_plan.fov_width: is 900.0; expected none: the field is that of the camera",
    ),
    "large grid": (changed("grid_plan", {**GRID, "rows": 21}), "has 2 × 21 fields; expected 20"),
    "a channel twice": (
        changed("channels", [{"config": "BF"}, {"config": "BF", "exposure": 3}]),
        "channels.1: is Channel:BF, a second time; expected each channel once",
    ),
    "no exposure": (
        changed("channels", ["BF", "Cy5"]),
        "channels.1.exposure: cannot be carried out: Input should be a valid number",
    ),
    "long exposure": (
        changed("channels", ["BF", {"config": "Cy5", "exposure": 70_000}]),
        "channels.1.exposure: cannot be carried out: Input should be less than or equal to 60000",
    ),
    "offset": (changed("channels.0.z_offset", 5), "channels.0.z_offset: is 5.0; expected 0"),
    "no stack": (changed("channels.0.do_stack", False), "channels.0.do_stack: is false"),
    "every second": (changed("channels.0.acquire_every", 2), "channels.0.acquire_every: is 2"),
    "camera": (changed("channels.0.camera", "Andor"), "channels.0.camera: is Andor; expected none"),
    "absolute": (
        {**changed("z_plan", {"top": 9, "bottom": 0, "step": 3}), "autofocus_plan": None},
        "z_plan: has absolute heights; expected heights relative to the focus",
    ),
    "one side": (
        changed("z_plan", {"above": 100, "below": 0, "step": 50}),
        "z_plan: has planes at [0.0, 50.0, 100.0] µm; expected as many below",
    ),
    "uneven": (changed("z_plan", {"relative": [-40, 10, 30]}), "expected rising heights at equal"),
    "downwards": (changed("z_plan.go_up", False), "z_plan: has planes at [40.0, 0.0, -40.0] µm"),
    "five planes": (
        changed("z_plan.step", 20),
        "z_plan: is 5, and source.planes is 3; expected equal values",
    ),
    "no planes": (changed("z_plan", None), "z_plan: is 1, and source.planes is 3"),
    "autofocus axes": (changed("autofocus_plan.axes", ["p", "z"]), "autofocus_plan.axes: is"),
    "autofocus offset": (
        changed("autofocus_plan.autofocus_motor_offset", 3),
        "autofocus_plan.autofocus_motor_offset: is set; expected none",
    ),
    "order": (changed("axis_order", "tzpgc"), "axis_order: is tzpgc; expected one well after"),
    "shutter": (
        changed("keep_shutter_open_across", ["p", "z"]),
        "keep_shutter_open_across: has p; expected z: lamp off in moves",
    ),
    "setup": (
        changed("setup", {"properties": [["Camera", "Binning", "2"]]}),
        "setup: cannot be carried out",
    ),
    "other plate": (
        changed(
            "stage_positions.plate", {"rows": 5, "columns": 5, "well_spacing": 9, "well_size": 6}
        ),
        "stage_positions.plate: has 5 × 5 wells; expected one of 6, 12",
    ),
    "oblong": (
        changed(
            "stage_positions.plate",
            {"rows": 8, "columns": 12, "well_spacing": [9, 8], "well_size": 6},
        ),
        "stage_positions.plate.well_spacing: is 9.0 × 8.0 mm; expected equal ones",
    ),
    "no wells": (changed("stage_positions.selected_wells", None), "selects no well; expected"),
    "a well twice": (
        changed("stage_positions.selected_wells", [[1, 1], [2, 2]]),
        "stage_positions.selected_wells: selects a well twice",
    ),
    "another A1": (
        changed("stage_positions.a1_center_xy", [0, 0]),
        "stage_positions.a1_center_xy: is (0.0, 0.0), and source.micromanager.a1_um is (12000.0",
    ),
    "names": (
        changed("stage_positions", [{"name": "site 1", "x": 0, "y": 0}]),
        "stage_positions.0.name: is 'site 1'; expected the name of a well",
    ),
    "heights": (
        changed(
            "stage_positions",
            [
                {"name": "A1", "x": 12_000, "y": 75_000, "z": 1},
                {"name": "A2", "x": 21_000, "y": 75_000, "z": 2},
            ],
        ),
        "stage_positions.z: has several heights (1.0, 2.0); expected one for all wells",
    ),
    "a sequence of a position": (
        changed(
            "stage_positions",
            [{"name": "A1", "x": 12_000, "y": 75_000, "sequence": {"channels": ["Cy5"]}}],
        ),
        "stage_positions.0.sequence: cannot be carried out; expected none",
    ),
    "unknown field": (
        changed("z_plan.setp", 3),
        "has z_plan.setp; expected fields of MDASequence in useq-schema",
    ),
    "unknown field of a channel": (changed("channels.0.gain", 3), "has channels.0.gain; expected"),
    "invalid": (
        changed("stage_positions.selected_wells", [[9], [1]]),
        "is no MDASequence of useq-schema: selected_wells: Value error, Invalid well selection",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_field_that_cannot_be_carried_out_is_refused_by_its_name(
    tmp_path: Path, case: str
) -> None:
    plan, message = REFUSED[case]
    with pytest.raises(ConfigError) as refused:
        planned(tmp_path, plan)
    assert str(tmp_path / "plan.yaml") in str(refused.value)
    assert message in str(refused.value)


def test_a_key_of_the_section_that_the_plan_contradicts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        planned(tmp_path, SEQUENCE, "exposure_ms", "rotation_deg", "focusing", "well_order")
    found = str(refused.value)
    assert "channels.0.exposure: is 12.0, and source.micromanager.exposure_ms is 10.0" in found
    assert "stage_positions.rotation: is 0.5, and source.micromanager.rotation_deg is 0.0" in found
    assert "autofocus_plan: is hardware, and source.micromanager.focusing is auto" in found
    assert "expected no key source.micromanager.well_order" in found


@pytest.mark.parametrize("name", ["plan.yaml", "plan.json"])
@pytest.mark.parametrize("order", [WellOrder.ROW_WISE_SNAKE, WellOrder.COLUMN_WISE])
def test_an_exported_plan_gives_useq_the_same_wells_and_planes_and_is_read_back(
    tmp_path: Path, name: str, order: WellOrder
) -> None:
    settings = replace(
        SETTINGS,
        plate=384,
        spacing_um=4510.0,
        rotation_deg=-1.25,
        well_order=order,
        exposure_ms=7.5,
        planes=5,
        plane_step_um=12.5,
        focusing=Focusing.HARDWARE,
    )
    positions = plan_positions(settings, ["A01", "A24", "P01", "P24", "C05", "C06", "D06", "D05"])
    path = tmp_path / name
    write_plan(path, export_plan(settings, [row_column(each.well) for each in positions], "P1"))

    events = [
        each for each in useq.MDASequence.from_file(path) if each.action.type == "acquire_image"
    ]
    assert len(events) == len(positions) * 5
    assert {event.exposure for event in events} == {7.5}
    for number, event in enumerate(events):
        well = positions[number // 5]
        assert math.dist((event.x_pos, event.y_pos), (well.x_um, well.y_um)) < 0.01
        assert (event.channel.group, event.channel.config) == ("Channel", "BF")
    plan = read_plan(path)
    assert list(plan.sequence.z_plan) == [-25.0, -12.5, 0.0, 12.5, 25.0]
    start = replace(SETTINGS, planes=5)
    expected = replace(settings, plan_wells=tuple(each.well for each in positions))
    assert settings_of_plan(start, plan, {"a1_um", "planes"}) == replace(
        expected, well_order=start.well_order
    )
    assert plan_positions(expected, expected.plan_wells) == positions


def test_a_file_that_is_no_plan_is_refused_with_its_name(tmp_path: Path) -> None:
    missing = tmp_path / "none.json"
    with pytest.raises(ConfigError, match=r"none.json: cannot be read: No such file"):
        read_plan(missing)
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(ConfigError, match=r"list.json: has no fields; expected an MDASequence"):
        read_plan(tmp_path / "list.json")
    with pytest.raises(ConfigError, match=r"plan.txt: expected a name that ends in .yaml"):
        write_plan(tmp_path / "plan.txt", useq.MDASequence())
