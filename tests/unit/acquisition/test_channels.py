from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from acquisition.channels import Channel, due_channels, name_problem
from acquisition.microscope.archive_names import is_other_image, visit_file_name
from acquisition.microscope.imaging_journal import ImagingJournal
from acquisition.microscope.missing_images import finished_wells, missing_images

AT = datetime(2026, 11, 16, 15, tzinfo=UTC)
STAIN = Channel(name="calcein", preset="Channel:FITC", exposure_ms=100)


def test_a_channel_is_due_every_day_on_the_named_days_or_on_the_readout_day() -> None:
    channels = [
        STAIN,
        STAIN.model_copy(update={"name": "early", "days": (1, 7)}),
        STAIN.model_copy(update={"name": "end", "days": "readout"}),
    ]
    names = {
        day: [each.name for each in due_channels(channels, day, readout_day=10)]
        for day in (1, 8, 10)
    }
    assert names == {1: ["calcein", "early"], 8: ["calcein"], 10: ["calcein", "end"]}


def test_the_planes_of_a_channel_lie_around_the_focus_of_bright_field_and_its_offset() -> None:
    channel = Channel(
        name="a", preset="A:B", exposure_ms=1, offset_um=-10, planes=3, plane_step_um=20
    )
    assert channel.heights(3000.0) == [2970.0, 2990.0, 3010.0]


@pytest.mark.parametrize("name", ["", "a_b", "a/b", "field01", "Field2", "a-", "β", "x" * 41])
def test_a_name_that_would_not_be_a_clear_part_of_a_file_name_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Channel(name=name, preset="Channel:FITC", exposure_ms=1)


def test_names_that_differ_only_in_case_are_a_problem() -> None:
    other = STAIN.model_copy(update={"name": "Calcein"})
    assert name_problem([STAIN, other]) == "the channels calcein only once"
    assert name_problem([STAIN]) is None


@pytest.mark.parametrize("part", ["calcein", "field02", "calcein-field02", "0100", "BF"])
@pytest.mark.parametrize("ending", [".ome.tif", ".ome.zarr"])
def test_the_names_of_other_images_differ_from_those_of_ranked_images(
    part: str, ending: str
) -> None:
    folder = "PDAC-0042/day07"
    assert is_other_image(f"{folder}/{visit_file_name('B02', AT, part, ending)}")
    assert not is_other_image(f"{folder}/{visit_file_name('B02', AT, ending=ending)}")


def test_an_image_of_a_channel_is_missing_until_it_is_saved(tmp_path: Path) -> None:
    journal = ImagingJournal(tmp_path / "journal.jsonl")
    journal.record_start("B02", AT)
    journal.record_saved("B02", "B02.ome.tif", AT)
    assert missing_images(journal, ["B02", "B03"], [STAIN], None) == [
        "B03",
        "B02 calcein",
        "B03 calcein",
    ]
    assert finished_wells(journal, [], None, 3) == {"B02"}
    assert finished_wells(journal, [STAIN], None, 3) == set()

    journal.record_saved("B02", "B02_calcein.ome.tif", AT, STAIN.name)
    assert missing_images(journal, ["B02"], [STAIN], None) == []
    assert finished_wells(journal, [STAIN], None, 3) == {"B02"}


def test_a_well_with_bright_field_is_finished_after_its_last_attempt_at_another_channel(
    tmp_path: Path,
) -> None:
    journal = ImagingJournal(tmp_path / "journal.jsonl")
    for _ in range(3):
        journal.record_start("B02", AT)
    journal.record_saved("B02", "B02.ome.tif", AT)
    journal.record_failure("B02", "filter wheel: no answer", AT)
    assert finished_wells(journal, [STAIN], None, 4) == set()
    assert finished_wells(journal, [STAIN], None, 3) == {"B02"}
