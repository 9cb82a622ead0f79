"""The service ingests files of real microscopes with the vendor's names, scale and times."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inference.bundle import load_bundle
from schemas.observation import Observation
from schemas.quality import Flag
from tests.real_data import real_data
from tests.service_process import ServiceProcess

PLATE_TOML = 'plate = "{plate}"\nseeded_at = {seeded_at}\nwells = [{wells}]\n'


def add_plate(
    service: ServiceProcess, plate: str, images: list[Path], wells: list[str], seeded_at: str
) -> None:
    """Add a plate of untreated wells with these image files to the drop folder."""
    folder = service.drop / plate
    folder.mkdir()
    for image in images:
        shutil.copy(image, folder / image.name)
    listed = ", ".join(f'"{well}"' for well in wells)
    (folder / f"{plate}.plate.toml").write_text(
        PLATE_TOML.format(plate=plate, seeded_at=seeded_at, wells=listed)
    )
    (folder / f"{plate}.wells.csv").write_text(
        "well,group,treatment\n" + "".join(f"{well},untreated,\n" for well in wells)
    )


def ingest(service: ServiceProcess, plate: str) -> list[Observation]:
    """Run the service once and return the observations of a plate."""
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    with service.store() as store:
        [encoder_id] = {line["encoder_id"] for line in service.events("encoder.ready")}
        return list(store.observations(store.imaged(plate, encoder_id), encoder_id))


def test_all_images_of_a_metaxpress_export_are_ingested_with_their_scale(
    empty_service: ServiceProcess,
) -> None:
    images = sorted((real_data("mls11_spheroids") / "images").glob("*.tif"))
    wells = ["B06", "E04", "E11", "I03", "L06"]
    empty_service.configure(source='pattern = "{name}_{well:a00}{guid}.tif"\nplanes = 1')
    add_plate(empty_service, "MLS11", images, wells, "2023-09-13T09:00:00+02:00")
    found = ingest(empty_service, "MLS11")
    assert [each.key.well for each in found] == wells
    assert [each.um_per_px for each in found] == pytest.approx([1.3622] * 5, abs=1e-4)
    assert {each.day for each in found} == {9}  # the files were acquired on 2023-09-21
    assert all(
        each.complete and len(each.embedding) == load_bundle("default").card.dimension
        for each in found
    )
    assert not empty_service.events("image.rejected")


def test_a_focal_stack_of_an_evos_is_one_well_image_of_eleven_planes(
    empty_service: ServiceProcess,
) -> None:
    images = sorted((real_data("evos_organoid_zstack")).glob("*.TIF"))
    empty_service.configure(
        source='pattern = "D{day}_{name}_p{p}_z{plane}_0_{well}f{field}d{d}.TIF"\nplanes = 11'
    )
    add_plate(empty_service, "D6", images, ["A01"], "2023-05-01T09:00:00+02:00")
    [found] = ingest(empty_service, "D6")
    assert (found.key.well, found.day, found.complete, len(found.files)) == ("A01", 6, True, 11)
    assert found.um_per_px == pytest.approx(4.32, abs=0.01)
    assert len(found.quality.focus) == 11
    assert found.quality.sharpest_plane not in (0, 10)
    assert not empty_service.events("image.rejected")


def test_wells_of_a_384_well_plate_with_many_organoids_are_stored_and_crowded(
    empty_service: ServiceProcess,
) -> None:
    images = sorted((real_data("deep_organoid_384") / "images").glob("*.tif"))
    wells = [f"A{column:02d}" for column in range(1, 24, 2)]
    empty_service.configure(source='pattern = "ch{channel}_{row}_{col}_t{n}.tif"\nplanes = 1')
    seeded_at = datetime.now(UTC).replace(microsecond=0).isoformat()
    add_plate(empty_service, "organoids", images, wells, seeded_at)
    found = ingest(empty_service, "organoids")
    assert [each.key.well for each in found] == wells
    assert [Flag.CROWDED in each.quality.flags for each in found] == [True] * 12
    assert not empty_service.events("image.rejected")
