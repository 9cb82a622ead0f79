"""The service with the file names of MetaXpress and Incucyte: one image of each well and day."""

import json
import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from daemon.config import load_config
from daemon.wiring.source import source_settings
from inference.departure.assembly import select_images
from schemas.errors import ConfigError
from schemas.observation import Observation
from tests.service_process import PLATE, ServiceProcess

GUID = "46C9B2CD-0BB3-4B8A-9187-2805F4C9{:04X}"


Planes = list[npt.NDArray[np.uint16]]
INCUCYTE = "{plate}_{well}_{field}_{elapsed_day}d{elapsed_hours}h{elapsed_minutes}m.tif"


@pytest.fixture
def planes(rendered: Path) -> Planes:
    """Return the three planes of one well of the virtual plate on day 10."""
    folder = rendered / "drop" / PLATE / "day10"
    well = min(path.name[:3] for path in folder.iterdir())
    return [tifffile.imread(path) for path in sorted(folder.glob(f"{well}_z*.tif"))]


def write(path: Path, pixels: npt.NDArray[np.uint16], at_s: float | None = None) -> None:
    """Write an image file without a time inside, with a time of change."""
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=None)
    if at_s is not None:
        os.utime(path, (at_s, at_s))


@pytest.mark.parametrize(
    ("line", "channel"),
    [("", ""), ("channel = 2", "2"), ('channel = "Bright Field"', "Bright Field")],
)
def test_a_channel_is_set_by_name_or_number_and_changes_the_digest(
    empty_service: ServiceProcess, line: str, channel: str
) -> None:
    empty_service.configure()
    without = load_config(empty_service.config)
    empty_service.configure(source=line)
    config = load_config(empty_service.config)
    assert source_settings(config).channel == channel
    assert (config.digest == without.digest) is (channel == "")


def test_a_channel_that_is_no_text_or_number_is_a_wrong_setting(
    empty_service: ServiceProcess,
) -> None:
    empty_service.configure(source="channel = true")
    with pytest.raises(ConfigError, match=r"source\.channel"):
        load_config(empty_service.config)


def add_plate(service: ServiceProcess, plate: str) -> Path:
    """Add the map of a plate with two wells to the drop folder and return the plate's folder."""
    folder = service.drop / plate
    folder.mkdir()
    (folder / f"{plate}.plate.toml").write_text(
        f'plate = "{plate}"\nseeded_at = 2026-11-10T09:00:00+01:00\nwells = ["B02", "B03"]\n'
        "um_per_px = 1.36\n"
    )
    (folder / f"{plate}.wells.csv").write_text(
        "well,group,treatment\nB02,untreated,\nB03,screening,gemcitabine:1 uM\n"
    )
    return folder


def stored(service: ServiceProcess, plate: str) -> list[Observation]:
    """Run the service once and return the observations of a plate."""
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    encoder_id = service.events("encoder.ready")[-1]["encoder_id"]
    with service.store() as store:
        return list(store.observations(store.imaged(plate, encoder_id), encoder_id))


def selected(service: ServiceProcess, plate: str) -> list[str]:
    """Return the visits of the images that a ranking of a plate uses."""
    encoder_id = service.events("encoder.ready")[-1]["encoder_id"]
    with service.store() as store:
        plate_map = store.plate_map(plate)
        assert plate_map is not None
        return [
            each.key.visit for each in select_images(store.imaged(plate, encoder_id), plate_map)
        ]


@pytest.fixture
def metaxpress(empty_service: ServiceProcess, planes: Planes) -> ServiceProcess:
    """Return a service with two sites and wavelengths of a well, and their thumbnails, newest."""
    folder = add_plate(empty_service, "MLS11")
    number = 0
    for thumb in ("", "_thumb"):
        for site in (2, 1):
            for wavelength in (1, 2):
                number += 1
                ending = f"_s{site}_w{wavelength}{thumb}{GUID.format(number)}.tif"
                image = planes[1] if wavelength == 1 else planes[2][::-1] // 3
                image = image[:: 4 if thumb else 1, :: 4 if thumb else 1].copy()
                at_s = 1_794_826_800 + 60 * number  # 16 November 2026, 12:00 at +01:00
                write(folder / f"MLS11 spheroids_B02{ending}", image, at_s)
    return empty_service


def alerts(service: ServiceProcess, kind: str) -> list[str]:
    """Return the text of each alert of a kind that the service has logged."""
    return [json.dumps(event) for event in service.events("alert.raised") if event["kind"] == kind]


def test_only_the_first_site_of_the_set_wavelength_of_metaxpress_is_stored(
    metaxpress: ServiceProcess,
) -> None:
    metaxpress.configure(
        source='pattern = "{name}_{well:a00}{guid}.tif"\nplanes = 1\nchannel = "1"'
    )
    (image,) = stored(metaxpress, "MLS11")
    assert [file.path for file in image.files] == [
        f"MLS11/MLS11 spheroids_B02_s1_w1{GUID.format(3)}.tif"
    ]
    assert (image.key.visit, image.day) == ("day07", 7)
    assert not metaxpress.events("image.rejected")


def test_several_wavelengths_without_a_setting_are_reported_and_nothing_is_stored(
    metaxpress: ServiceProcess,
) -> None:
    source = 'pattern = "{name}_{well:a00}{guid}.tif"\nplanes = 1'
    metaxpress.configure(source=source)
    assert stored(metaxpress, "MLS11") == []
    (alert,) = alerts(metaxpress, "plate_map")
    assert "the names have 2 channels: '1', '2'" in alert
    metaxpress.configure(source=f"{source}\nchannel = 1")
    assert len(stored(metaxpress, "MLS11")) == 1


def test_the_scans_of_an_incucyte_are_visits_and_the_latest_of_a_day_is_selected(
    empty_service: ServiceProcess, planes: Planes
) -> None:
    folder = add_plate(empty_service, "VID289")
    scans = ["07d12h00m", "07d00h00m", "06d20h00m"]
    for number, (scan, pixels) in enumerate(zip(scans, planes, strict=True)):
        write(folder / f"VID289_B2_1_{scan}.tif", pixels, 1_794_999_600 + number)
    empty_service.configure(source=f'pattern = "{INCUCYTE}"\nplanes = 1')
    found = stored(empty_service, "VID289")
    assert [(image.key.visit, image.day) for image in found] == [
        ("day08-006d20h00m-f01", 8),
        ("day08-007d00h00m-f01", 8),
        ("day08-007d12h00m-f01", 8),
    ]
    assert [image.taken_at.isoformat() for image in found if image.taken_at] == [
        "2026-11-17T04:00:00+00:00",
        "2026-11-17T08:00:00+00:00",
        "2026-11-17T20:00:00+00:00",
    ]
    assert selected(empty_service, "VID289") == ["day08-007d12h00m-f01"]


def test_a_lower_field_that_arrives_later_is_the_selected_one(
    empty_service: ServiceProcess, planes: Planes
) -> None:
    folder = add_plate(empty_service, "P1")
    empty_service.configure(source='pattern = "{plate}/{well}_d{day}_f{field}.tif"\nplanes = 1')
    for field in (2, 1):
        write(folder / f"B02_d7_f{field}.tif", planes[field])
        stored(empty_service, "P1")
        assert selected(empty_service, "P1") == [f"day07-f{field:02d}"]


def test_a_backup_of_a_plate_adds_no_version_and_is_not_rejected(
    empty_service: ServiceProcess, planes: Planes
) -> None:
    folder = add_plate(empty_service, "P1")
    (folder / "day10").mkdir()
    for number, pixels in enumerate(planes, start=1):
        write(folder / "day10" / f"B02_z{number}.tif", pixels)
    assert [len(image.files) for image in stored(empty_service, "P1")] == [3]
    for file in sorted(folder.rglob("*.*")):
        copy = empty_service.drop / "backup" / file.relative_to(empty_service.drop)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    assert [len(image.files) for image in stored(empty_service, "P1")] == [3]
    assert not empty_service.events("image.rejected")
    assert not alerts(empty_service, "plate_map")
