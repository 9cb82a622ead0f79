"""Images of real instruments that the drop folder source reads; skipped if the data are missing."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from acquisition.drop_folder.image_reading import read_image
from acquisition.drop_folder.source import DropFolder, DropFolderSettings
from schemas.well_image import Rejected, WellImage
from tests.real_data import real_data
from tests.robot_folder import EndedVersions


def ingest(
    images: Path, drop: Path, pattern: str, plate: str, seeded_at: str, planes: int
) -> list[WellImage | Rejected]:
    """Return the well images and refusals of a drop folder that contains some images."""
    folder = drop / plate
    folder.mkdir(parents=True)
    for path in images.iterdir():
        if path.suffix.lower() == ".tif":
            shutil.copy(path, folder)
    (folder / f"{plate}.plate.toml").write_text(f'plate = "{plate}"\nseeded_at = {seeded_at}\n')
    (folder / f"{plate}.wells.csv").write_text("well,group,treatment\nB06,untreated,\n")
    source = DropFolder(
        DropFolderSettings(drop, pattern, planes=planes, settle_s=0.05, poll_s=0.2, once=True),
        EndedVersions(),
    )
    items: list[WellImage | Rejected] = []
    try:
        while (item := source.next(0.5)) or source.status(datetime.now(UTC)).pending:
            items += [item] if item else []
    finally:
        source.close()
    return items


def test_all_metaxpress_spheroids_are_ingested_with_scale_well_and_day(tmp_path: Path) -> None:
    items = ingest(
        real_data("mls11_spheroids/images"),
        tmp_path,
        "{name}_{well:a00}{guid}.tif",
        "MLS11",
        "2023-09-13T09:00:00+02:00",
        planes=1,
    )
    images = [item for item in items if isinstance(item, WellImage)]
    assert len(images) == len(items) == 5
    assert {image.key.well for image in images} == {"B06", "E04", "E11", "I03", "L06"}
    assert {image.um_per_px for image in images} == {1.3622}
    assert {(image.day, image.complete, image.flags) for image in images} == {(9, True, ())}
    assert {image.planes.shape for image in images} == {(1, 1024, 1024)}


def test_an_evos_stack_of_grey_rgb_is_taken_whole_and_without_noise(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pattern = "D{day}_auto_{name}_p{position}_z{plane}_{n}_{well:a00}f{fov}d{channel}.TIF"
    (image,) = ingest(
        real_data("evos_organoid_zstack"),
        tmp_path,
        pattern,
        "EVOS",
        "2023-09-09T09:00:00+02:00",
        planes=11,
    )
    assert isinstance(image, WellImage)
    assert (image.key.well, image.day, image.complete, image.flags) == ("A01", 6, True, ())
    assert image.um_per_px == pytest.approx(4.323, abs=0.001)
    assert (image.planes.shape, image.planes.dtype) == ((11, 1048, 1328), np.uint16)
    assert image.taken_at is not None
    assert image.taken_at.date().isoformat() == "2023-09-14"
    assert capfd.readouterr().err == ""


def test_jpeg_and_tiff_organoids_are_read_without_a_scale_that_a_program_made_up() -> None:
    for path in sorted(real_data("orgaquant_test").glob("*.[jt]*[gf]")):
        image = read_image(path)
        assert (image.planes.shape, image.um_per_px) == ((1, 1125, 1500), None), path


def test_sixteen_bit_spheroids_of_twelve_bits_are_stretched() -> None:
    paths = sorted(real_data("spheroid_morpho_ml/images").glob("*.tiff"))
    assert paths
    for path in paths:
        image = read_image(path)
        assert image.planes.shape[0] == 1, path
        assert image.planes.max() > 20_000, path
