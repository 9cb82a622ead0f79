"""Units, times and bits in the spellings that microscope programs use."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from acquisition.drop_folder.metadata.values import bits_of_white, time_of, unit_um


@pytest.mark.parametrize(
    ("text", "um"),
    [
        ("µm", 1),
        ("μm", 1),
        ("um", 1),
        ("UM", 1),
        ("\\u00b5m", 1),
        ("\\u00B5m", 1),
        ("Âµm", 1),
        ("micron", 1),
        ("Microns", 1),
        ("micrometer", 1),
        ("micrometres", 1),
        ("nm", 1e-3),
        ("mm", 1e3),
        ("millimeters", 1e3),
        ("cm", 1e4),
        ("m", 1e6),
        ("in", 25_400),
        ("inch", 25_400),
        ("inches", 25_400),
        ("pixel", None),
        ("pixels", None),
        ("Mm", None),
        ("", None),
        ("�m", None),
    ],
)
def test_a_unit_of_length_is_read_in_its_spellings(text: str, um: float | None) -> None:
    assert unit_um(text) == um


HOUR = timedelta(hours=1)
LOCAL = datetime(2026, 11, 16, 15, 0, 1)  # noqa: DTZ001 - a text without a zone


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026:11:16 15:00:01", LOCAL),
        ("2026:11:16 15:00:01\0", LOCAL),
        ("2026-11-16T15:00:01", LOCAL),
        ("20261116 15:00:01.977", LOCAL.replace(microsecond=977_000)),
        ("2026:11:16 15:00:01.5", LOCAL.replace(microsecond=500_000)),
        ("2026:11:16 15:00:01:250", LOCAL.replace(microsecond=250_000)),
        ("2026-11-16T15:00:01.1234567Z", LOCAL.replace(microsecond=123_456, tzinfo=UTC)),
        ("2026:11:16 15:00:01Z", LOCAL.replace(tzinfo=UTC)),
        (
            "2026:11:16 15:00:01.123+01:00",
            LOCAL.replace(microsecond=123_000, tzinfo=timezone(HOUR)),
        ),
        ("2026-11-16 15:00:01 -0800", LOCAL.replace(tzinfo=timezone(-8 * HOUR))),
        ("2026-11-16T15:00:01+01", LOCAL.replace(tzinfo=timezone(HOUR))),
        ("20261116150001", LOCAL),
        ("0000:00:00 00:00:00", None),
        ("0001-01-01T00:00:00", None),
        ("1970-01-01T00:00:00Z", None),
        ("2026:13:16 15:00:01", None),
        ("2026:11:16", None),
        ("", None),
    ],
)
def test_a_time_is_read_with_its_fraction_and_zone(text: str, time: datetime | None) -> None:
    found = time_of(text)
    assert found == time
    assert found is None or time is None or found.utcoffset() == time.utcoffset()


@pytest.mark.parametrize(
    ("white", "bits"),
    [(255, 8), (4095, 12), (16383, 14), (65520, 16), (65535, 16), (65536, 16), (5000, None)],
)
def test_the_bits_of_a_camera_follow_from_its_brightest_value(white: int, bits: int | None) -> None:
    assert bits_of_white(white) == bits
