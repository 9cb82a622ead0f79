"""A real core of Micro-Manager with a stage that reports its target without being there."""

from pathlib import Path

import pytest

from acquisition.microscope.day_plan import EndReason
from acquisition.microscope.day_stop import StopReason
from acquisition.microscope.imaging_journal import day_journal
from acquisition.microscope.picture_store import PictureStore
from acquisition.microscope.pictures import SAME_PICTURE, WellPictures, likeness
from acquisition.microscope.settings import FieldsUse
from simulation.world import A1_UM, SPACING_UM
from tests.imaged_plate import ImagedPlate

pytestmark = pytest.mark.micromanager

DAY = 7
ROW = [f"B{column:02d}" for column in range(2, 12)]


def true_pictures(
    folder: Path,
    day: int = DAY,
    fields: tuple[int, int] = (1, 1),
    fields_use: FieldsUse = FieldsUse.LARGEST_TISSUE,
) -> dict[str, WellPictures]:
    """Return the pictures of a row of the plate, taken with devices without a fault."""
    plate = ImagedPlate.make(folder, day=day)
    plate.fields, plate.fields_use = fields, fields_use
    plate.image(day, *ROW)
    assert plate.alerts() == []
    return plate.pictures(day)


def wrong_wells(plate: ImagedPlate, truth: dict[str, WellPictures], day: int = DAY) -> list[str]:
    """Return the wells whose archived image is not that of the well."""
    return [
        well
        for well, picture in plate.pictures(day).items()
        if likeness(picture, truth[well]) < SAME_PICTURE
    ]


@pytest.mark.parametrize("fails_at", [3, 7])
def test_a_well_with_the_picture_of_the_well_before_is_imaged_again(
    tmp_path: Path, fails_at: int
) -> None:
    truth = true_pictures(tmp_path / "truth")
    plate = ImagedPlate.make(tmp_path / "faulty", day=DAY)
    plate.break_device("Stage", "SlippingStage", fails_at=fails_at)

    result = plate.image(DAY, *ROW)

    assert result.reason is EndReason.COMPLETED
    assert sorted(plate.pictures(DAY)) == ROW
    assert wrong_wells(plate, truth) == []
    before, well = ROW[fails_at - 2], ROW[fails_at - 1]
    reports = [*plate.named("well.failed"), *plate.named("well.repeated")]
    assert {fields["well"] for fields in reports} <= {before, well}
    assert any(before in fields["problem"] for fields in reports if fields["well"] == well)


def test_a_saved_image_of_the_next_well_is_replaced_when_the_next_well_is_imaged(
    tmp_path: Path,
) -> None:
    truth = true_pictures(tmp_path / "truth")
    plate = ImagedPlate.make(tmp_path / "faulty", day=DAY)
    plate.break_device("Stage", "OvershootingStage", fails_at=3)

    assert plate.image(DAY, *ROW).reason is EndReason.COMPLETED

    assert sorted(plate.pictures(DAY)) == ROW
    assert wrong_wells(plate, truth) == []
    (repeated,) = plate.named("well.repeated")
    assert (repeated["well"], repeated["was_saved"], repeated["wells_saved"]) == ("B04", True, 2)
    assert "B05 shows the picture of B04" in repeated["problem"]
    assert plate.alerts() == []


def test_a_saved_image_that_does_not_count_and_is_not_replaced_is_named_by_an_alert(
    tmp_path: Path,
) -> None:
    plate = ImagedPlate.make(tmp_path, day=DAY)
    plate.tries = 1
    plate.break_device("Stage", "OvershootingStage", fails_at=3)

    result = plate.image(DAY, *ROW)

    assert result.wrong_images == ("B04",)
    named, _given_up = plate.alerts()
    assert "the saved images of B04 may show other wells, and no new images replaced" in named
    assert "rankings leave them out" in named
    assert f"spherorank acquire run {plate.plate} --well WELL" in named
    state = plate.folder / "microscope"
    (wrong,) = day_journal(state, plate.plate, DAY).wrong_files()
    assert Path(wrong).name.startswith("B04_")
    _, kept = PictureStore(state, plate.plate, None).load_day_before(DAY + 1)
    assert sorted(kept) == [well for well in ROW if well not in ("B04", "B05")]


@pytest.mark.parametrize("well", ["B03", "B11"])
def test_a_stage_that_stays_at_the_well_before_is_noticed_with_two_fields_per_well(
    tmp_path: Path, well: str
) -> None:
    truth = true_pictures(tmp_path / "truth", DAY, (2, 1), FieldsUse.MOSAIC)
    plate = ImagedPlate.make(tmp_path / "faulty", day=DAY)
    plate.fields, plate.fields_use = (2, 1), FieldsUse.MOSAIC
    moves_per_visit = 5
    first_move = ROW.index(well) * moves_per_visit + 1
    plate.break_device("Stage", "StallingStage", fails_at=first_move)

    result = plate.image(DAY, *ROW)

    assert result.reason is EndReason.COMPLETED
    assert sorted(plate.pictures(DAY)) == ROW
    assert wrong_wells(plate, truth) == []
    reports = [*plate.named("well.failed"), *plate.named("well.repeated")]
    assert well in {fields["well"] for fields in reports}


@pytest.mark.parametrize("home_stage", [False, True])
def test_wells_that_seem_empty_because_the_stage_is_displaced_are_not_saved(
    tmp_path: Path, *, home_stage: bool
) -> None:
    """After B07 the stage is displaced by a column, so that column 1 seems to be column 2."""
    plate = ImagedPlate.make(tmp_path, day=DAY)
    plate.home_stage = home_stage
    wells = [*ROW[:6], "C02", "D02", "E02", "F02", "G02"]
    plate.break_device("Stage", "ColumnLosingStage", fails_at=7)

    result = plate.image(DAY, *wells)

    if home_stage:
        assert result.reason is EndReason.COMPLETED
        assert sorted(plate.pictures(DAY)) == wells
        assert plate.alerts() == []
    else:
        assert result.halt is not None
        assert result.halt.reason is StopReason.WRONG_PLACE
        assert sorted(plate.pictures(DAY)) == ROW[:6]


def test_a_displaced_stage_stops_the_run_before_a_wrong_image_is_saved(tmp_path: Path) -> None:
    truth = true_pictures(tmp_path / "truth")
    plate = ImagedPlate.make(tmp_path / "faulty", day=DAY)
    plate.break_device("Stage", "DriftingStage", fails_at=7)

    result = plate.image(DAY, *ROW)

    assert result.halt is not None
    assert result.halt.reason is StopReason.WRONG_PLACE
    assert sorted(plate.pictures(DAY)) == ROW[:6]
    assert wrong_wells(plate, truth) == []
    (message,) = plate.alerts()
    assert "B08 shows the picture of B07" in message
    assert "home the stage" in message


def test_a_displaced_stage_is_homed_and_all_wells_are_imaged(tmp_path: Path) -> None:
    truth = true_pictures(tmp_path / "truth")
    plate = ImagedPlate.make(tmp_path / "faulty", day=DAY)
    plate.home_stage = True
    plate.break_device("Stage", "DriftingStage", fails_at=7)

    result = plate.image(DAY, *ROW)

    assert result.reason is EndReason.COMPLETED
    assert sorted(plate.pictures(DAY)) == ROW
    assert wrong_wells(plate, truth) == []


def test_wells_that_show_their_neighbours_of_the_day_before_stop_the_run_and_count_as_missing(
    tmp_path: Path,
) -> None:
    plate = ImagedPlate.make(tmp_path, day=DAY)
    plate.image(DAY, *ROW)
    plate.world.place_plate(plate.plate, DAY + 1)
    plate.a1_um = (A1_UM[0] - SPACING_UM, A1_UM[1])

    result = plate.image(DAY + 1, *ROW[1:])

    assert result.halt is not None
    assert result.halt.reason is StopReason.WRONG_PLACE
    message, withdrawn = plate.alerts()
    assert f"B03, B04, B05, B06 show the pictures of B02, B03, B04, B05 on day {DAY}" in message
    assert "the saved images of B03, B04, B05 may show other wells" in withdrawn
    (halted,) = plate.named("day.halted")
    assert halted["no_image"] == ROW[1:]


def test_a_plate_is_imaged_completely_on_several_days_without_a_false_report(
    tmp_path: Path,
) -> None:
    plate = ImagedPlate.make(tmp_path, day=1, seed=11)
    wells = plate.wells[5:13]
    for day in (1, 7, 8, 10):
        plate.world.place_plate(plate.plate, day)
        assert plate.image(day, *wells).reason is EndReason.COMPLETED
        assert sorted(plate.pictures(day)) == sorted(wells)
    assert plate.alerts() == []
    assert plate.named("well.failed") == []


def test_a_frame_that_the_camera_returns_twice_is_not_saved(tmp_path: Path) -> None:
    plate = ImagedPlate.make(tmp_path, day=DAY, wells=12)
    plate.break_device("Camera", "FrozenCamera", fails_at=8)

    assert plate.image(DAY).reason is EndReason.COMPLETED
    assert sorted(plate.pictures(DAY)) == plate.wells
    (failed,) = plate.named("well.failed")
    assert "plane 2 has the pixels of the frame before" in failed["problem"]


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[str, WellPictures]]:
    """Return the true pictures of a row of the plate on two days, imaged without a report."""
    plate = ImagedPlate.make(tmp_path_factory.mktemp("truth"), day=DAY)
    plate.image(DAY, *ROW)
    plate.world.place_plate(plate.plate, DAY + 1)
    plate.image(DAY + 1, *ROW)
    assert plate.named("well.failed") == plate.named("alert") == []
    return {day: plate.pictures(day) for day in (DAY, DAY + 1)}


def second_day(folder: Path, share: float, *, stays: bool, well: str = "B08") -> ImagedPlate:
    """Return a plate that was imaged on one day, and whose stage then stops short of a well."""
    plate = ImagedPlate.make(folder, day=DAY)
    plate.image(DAY, *ROW)
    plate.world.place_plate(plate.plate, DAY + 1)
    plate.events.clear()
    move = ROW.index(well) + 1
    plate.break_device("Stage", "ShortStage", fails_at=move, Share=share, Stays=int(stays))
    return plate


@pytest.mark.parametrize(
    ("share", "problem"),
    [
        (0.2, "B08 shows no tissue; expected tissue there"),
        (0.35, "B08 is unlike itself on day 7"),
        (0.5, "the image is dark"),
    ],
)
def test_a_well_that_the_stage_reached_only_in_part_is_imaged_again(
    tmp_path: Path, two_days: dict[int, dict[str, WellPictures]], share: float, problem: str
) -> None:
    plate = second_day(tmp_path, share, stays=False)

    assert plate.image(DAY + 1, *ROW).reason is EndReason.COMPLETED

    assert sorted(plate.pictures(DAY + 1)) == ROW
    assert wrong_wells(plate, two_days[DAY + 1], DAY + 1) == []
    (failed,) = plate.named("well.failed")
    assert failed["well"] == "B08"
    assert problem in failed["problem"]
    assert plate.alerts() == []


def test_a_single_well_that_is_unlike_itself_among_the_first_wells_is_withdrawn_and_imaged_again(
    tmp_path: Path, two_days: dict[int, dict[str, WellPictures]]
) -> None:
    plate = second_day(tmp_path, 0.65, stays=False, well="B04")

    assert plate.image(DAY + 1, *ROW).reason is EndReason.COMPLETED

    assert wrong_wells(plate, two_days[DAY + 1], DAY + 1) == []
    (repeated,) = plate.named("well.repeated")
    assert (repeated["well"], repeated["was_saved"]) == ("B04", True)
    assert "B04 is unlike itself on day 7" in repeated["problem"]


@pytest.mark.parametrize(
    ("share", "reason"),
    [(0.35, StopReason.WRONG_PLACE), (0.5, StopReason.NO_LIGHT)],
)
def test_a_stage_that_stays_displaced_by_a_part_of_the_spacing_stops_the_run(
    tmp_path: Path,
    two_days: dict[int, dict[str, WellPictures]],
    share: float,
    reason: StopReason,
) -> None:
    plate = second_day(tmp_path, share, stays=True)

    result = plate.image(DAY + 1, *ROW)

    assert result.halt is not None
    assert result.halt.reason is reason
    assert sorted(plate.pictures(DAY + 1)) == ROW[:6]
    assert wrong_wells(plate, two_days[DAY + 1], DAY + 1) == []


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_the_edge_of_a_well_is_not_taken_for_tissue_on_the_first_day(
    tmp_path: Path, two_days: dict[int, dict[str, WellPictures]], share: float
) -> None:
    plate = ImagedPlate.make(tmp_path, day=DAY)
    plate.break_device("Stage", "ShortStage", fails_at=7, Share=share, Stays=0)

    assert plate.image(DAY, *ROW).reason is EndReason.COMPLETED

    assert wrong_wells(plate, two_days[DAY], DAY) == []
    (failed,) = plate.named("well.failed")
    assert "B08 shows no tissue" in failed["problem"]


def test_a_stage_that_stays_displaced_on_the_first_day_leaves_no_valid_wrong_image(
    tmp_path: Path,
) -> None:
    """Every well shows the wall of a well; the second one shows that the first was wrong, too."""
    plate = ImagedPlate.make(tmp_path, day=DAY)
    plate.break_device("Stage", "ShortStage", fails_at=7, Share=0.65, Stays=1)

    result = plate.image(DAY, *ROW)

    assert result.halt is not None
    assert result.halt.reason is StopReason.WRONG_PLACE
    assert result.wrong_images == ("B08",)
    (halted,) = plate.named("day.halted")
    assert halted["no_image"] == ROW[6:]
    wrong = day_journal(plate.folder / "microscope", plate.plate, DAY).wrong_files()
    assert [Path(file).name[:3] for file in wrong] == ["B08"]
