from datetime import time

import pytest

from schemas.errors import PlateMapError
from schemas.plate_map import PlateMap, parse_plate_map
from tests.samples import plate_map, wells_table

TOML = 'plate = "PDAC-0042"\nseeded_at = 2026-11-10T09:00:00+01:00\n'
CSV = "well,group,treatment\nB02,untreated,\n"


def read(more: str = "") -> PlateMap:
    return parse_plate_map(TOML + more, wells_table(CSV), toml_name="P.plate.toml")


@pytest.mark.parametrize("written", ["10:30:00", '"10:30"', '"10:30:00"'])
def test_the_hour_of_imaging_is_a_local_time_or_its_text(written: str) -> None:
    assert read(f"acquire_at = {written}\n").acquire_at == time(10, 30)


def test_a_plate_may_have_its_own_imaging_days_or_none() -> None:
    assert read("acquire_days = [1, 3, 5]\n").acquire_days == (1, 3, 5)
    assert read().acquire_days is None
    assert read().acquire_at is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("acquire_at = 36000\n", "36000 is not a time of day; expected one such as 10:00"),
        ('acquire_at = "10:00Z"\n', "'10:00Z' is not a time of day"),
        ('acquire_at = "25:00"\n', "acquire_at is '25:00'; expected"),
        ('acquire_at = ""\n', "'' is not a time of day"),
        ("acquire_at = 2026-11-10T10:00:00Z\n", "is not a time of day"),
        ("acquire_days = []\n", "acquire_days is []; expected"),
        ("acquire_days = [0]\n", "acquire_days.0 is 0; expected"),
        ('acquire_days = "all"\n', "acquire_days is 'all'; expected"),
    ],
)
def test_an_invalid_imaging_time_or_day_is_refused_with_its_key(more: str, message: str) -> None:
    with pytest.raises(PlateMapError) as refused:
        read(more)
    assert refused.value.where == "P.plate.toml"
    assert message in refused.value.problem


def test_imaging_times_do_not_change_the_digest_of_a_plate_map() -> None:
    # The constant is from a version without imaging times; its rankings must stay valid.
    assert plate_map().digest == "ef0d259d3b681a237ad720a80f9d83c72d98de66131e531f8d1a8def69ba95db"
    assert plate_map(acquire_at="10:00", acquire_days=(1, 7)).digest == plate_map().digest
    assert plate_map(readout_day=9).digest != plate_map().digest


def test_a_map_with_imaging_times_survives_serialisation() -> None:
    kept = plate_map(acquire_at=time(10, 0, 0, 500), acquire_days=(1, 7))
    assert PlateMap.model_validate(kept.model_dump(mode="json")) == kept
