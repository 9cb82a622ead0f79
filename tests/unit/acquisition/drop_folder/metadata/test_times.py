"""The time at which an image was taken, in the files of each microscope program."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import numpy.typing as npt
import pytest

from acquisition.drop_folder.image_decoding import ImageLimits, decode
from benchmarks.vendor_files import (
    gen5_xml,
    harmony,
    harmony_xml,
    metaseries,
    micromanager,
    ome_image,
    ome_xml,
    squid,
    stk,
    tiff,
)

GREY: npt.NDArray[np.uint16] = (
    np.random.default_rng(7).integers(100, 4000, (80, 100)).astype(np.uint16)
)
NOON = datetime(2026, 11, 16, 15)  # noqa: DTZ001 - most programs write no zone
IN_BERLIN, IN_SEATTLE = timezone(timedelta(hours=1)), timezone(timedelta(hours=-8))


def time_of(content: bytes, name: str = "x.tif") -> datetime | None:
    return decode(content, name, ImageLimits()).metadata.taken_at


def with_datetime(text: str) -> bytes:
    return tiff(GREY, extratags=[(306, "s", 0, text, True)])


def ome(image: str) -> bytes:
    return tiff(GREY, description=ome_xml(image))


def dated_gen5(date: str, clock: str) -> bytes:
    return tiff(GREY, description=gen5_xml(date=date, clock=clock))


TIMES = {
    "OME": (ome(ome_image()), NOON),
    "OME with an offset": (
        ome(ome_image(planes='<Plane TheZ="0" TheC="0" TheT="0" DeltaT="90"/>')),
        NOON + timedelta(seconds=90),
    ),
    "OME with an offset in minutes": (
        ome(ome_image(planes='<Plane TheZ="0" TheC="0" TheT="0" DeltaT="90" DeltaTUnit="min"/>')),
        NOON + timedelta(minutes=90),
    ),
    "OME with an offset in milliseconds": (
        ome(ome_image(planes='<Plane TheZ="0" TheC="0" TheT="0" DeltaT="90" DeltaTUnit="ms"/>')),
        NOON + timedelta(milliseconds=90),
    ),
    "OME with a zone": (ome(ome_image(date="2026-11-16T15:00:00Z")), NOON.replace(tzinfo=UTC)),
    "Harmony": (
        harmony(GREY, harmony_xml()),
        NOON.replace(microsecond=370_000, tzinfo=IN_BERLIN),
    ),
    "Gen5": (dated_gen5("11/16/26", "15:00:00"), NOON),
    "Gen5 in a year of four digits": (dated_gen5("11/16/2026", "15:00:00"), NOON),
    "Gen5 with PM": (dated_gen5("11/16/26", "3:00:00 PM"), NOON),
    "Gen5 with 12 AM": (dated_gen5("11/16/26", "12:00:00 AM"), NOON - timedelta(hours=15)),
    "MetaXpress": (metaseries(GREY), NOON.replace(microsecond=977_000)),
    "MetaMorph stack": (stk([GREY] * 3), NOON),
    "Micro-Manager 1.4": (
        micromanager([GREY], [{"SliceIndex": 0, "Time": "2026-11-16 15:00:00 -0800"}]),
        NOON.replace(tzinfo=IN_SEATTLE),
    ),
    "Micro-Manager 2": (
        micromanager([GREY], [{"SliceIndex": 0, "ReceivedTime": "2026-11-16 15:00:00.250 -0800"}]),
        NOON.replace(microsecond=250_000, tzinfo=IN_SEATTLE),
    ),
    "Squid": (
        squid([GREY], [{"z_level": 0, "channel": "BF", "time": "2026-11-16 15:00:00.5"}]),
        NOON.replace(microsecond=500_000),
    ),
    "DateTime": (with_datetime("2026:11:16 15:00:00"), NOON),
    "DateTime with milliseconds": (
        with_datetime("2026:11:16 15:00:00.123"),
        NOON.replace(microsecond=123_000),
    ),
    "DateTime in UTC": (with_datetime("2026-11-16T15:00:00Z"), NOON.replace(tzinfo=UTC)),
    "DateTime with a zone": (
        with_datetime("2026:11:16 15:00:00.123+01:00"),
        NOON.replace(microsecond=123_000, tzinfo=IN_BERLIN),
    ),
}


@pytest.mark.parametrize(("content", "time"), TIMES.values(), ids=TIMES.keys())
def test_the_time_is_read_from_the_file(content: bytes, time: datetime) -> None:
    found = time_of(content)
    assert found is not None
    assert (found, found.utcoffset()) == (time, time.utcoffset())


WITHOUT = {
    "no time": tiff(GREY),
    "OME with an offset in no unit": ome(
        ome_image(planes='<Plane TheZ="0" TheC="0" TheT="0" DeltaT="9" DeltaTUnit="pixel"/>')
    ),
    "OME from year 1": ome(ome_image(date="0001-01-01T00:00:00")),
    "Gen5 with a month 16": dated_gen5("16/11/26", "15:00:00"),
    "Gen5 without a clock": dated_gen5("11/16/26", ""),
    "MetaMorph stack without a date": stk([GREY] * 3, time=datetime(1, 1, 1)),  # noqa: DTZ001
    "DateTime of zeros": with_datetime("0000:00:00 00:00:00"),
}


@pytest.mark.parametrize("content", WITHOUT.values(), ids=WITHOUT.keys())
def test_a_time_that_is_missing_or_not_plausible_is_none(content: bytes) -> None:
    assert time_of(content) is None


DAYS = [NOON + timedelta(days=day) for day in range(3)]


def series(planes: str, more: str = "") -> bytes:
    """Return one file of a series of three days, with the XML of all three."""
    data = "".join(
        f'<TiffData FirstT="{day}" IFD="0"><UUID FileName="day{day}.tif">urn:uuid:{day}</UUID>'
        "</TiffData>"
        for day in range(3)
    )
    return ome(ome_image(t=3, data=data, planes=planes, more=more))


OFFSETS = "".join(
    f'<Plane TheZ="0" TheC="0" TheT="{day}" DeltaT="{86400 * day}"/>' for day in range(3)
)


@pytest.mark.parametrize("day", range(3))
@pytest.mark.parametrize(
    "content",
    [series(OFFSETS), series("", 'TimeIncrement="24" TimeIncrementUnit="h"')],
    ids=["an offset for each plane", "a constant interval"],
)
def test_each_file_of_an_ome_series_has_the_time_of_its_own_planes(
    content: bytes, day: int
) -> None:
    assert time_of(content, f"plate/day{day}.tif") == DAYS[day]


def test_a_file_of_an_ome_series_without_offsets_has_no_time_except_the_first() -> None:
    found = [time_of(series(""), f"day{day}.tif") for day in range(3)]
    assert found == [NOON, None, None]


def test_the_time_of_a_stack_is_that_of_its_first_plane() -> None:
    planes = "".join(
        f'<Plane TheZ="{z}" TheC="0" TheT="0" DeltaT="{30 - 10 * z}"/>' for z in range(3)
    )
    content = tiff(GREY, GREY, GREY, description=ome_xml(ome_image(z=3, planes=planes)))
    assert time_of(content) == NOON + timedelta(seconds=10)
