"""Contradicting scales: wells are left out, alerts are raised, and a decision is carried out."""

import io
import json
import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from schemas.quality import Flag
from schemas.ranking import Ranking
from schemas.well_image import VisitKey
from tests.service_process import PLATE, WELLS, ServiceProcess

Vector = npt.NDArray[np.float32]


def with_scale(file: Path, um_per_px: float) -> None:
    """Write a TIFF again with another scale in its resolution tags, and the same time of change."""
    time_ns = file.stat().st_mtime_ns
    with tifffile.TiffFile(file) as tif:
        pixels, taken_at = tif.asarray(), tif.pages.first.tags.valueof("DateTime")
    content = io.BytesIO()
    per_cm = 1e4 / um_per_px
    tifffile.imwrite(
        content,
        pixels,
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        datetime=taken_at,
        metadata=None,
    )
    file.write_bytes(content.getvalue())
    os.utime(file, ns=(time_ns, time_ns))


def plate_toml(service: ServiceProcess) -> Path:
    return service.drop / PLATE / f"{PLATE}.plate.toml"


def scale_of(service: ServiceProcess) -> float:
    """Return the scale in the plate map."""
    found = re.search(r"um_per_px = ([\d.]+)", plate_toml(service).read_text())
    assert found is not None
    return float(found[1])


def change_map(service: ServiceProcess, um_per_px: float | None, decided_by: str = "") -> None:
    """Replace the scale and the decision in the plate map."""
    lines = [
        line
        for line in plate_toml(service).read_text().splitlines()
        if not line.startswith("um_per_px")
    ]
    lines += [f"um_per_px = {um_per_px}"] if um_per_px else []
    lines += [f'um_per_px_from = "{decided_by}"'] if decided_by else []
    plate_toml(service).write_text("\n".join(lines) + "\n")


def alerts(service: ServiceProcess) -> list[str]:
    """Return the messages of the alerts about scales that are in the outbox."""
    with service.store() as store:
        sent = [
            json.loads(message.body)["data"]
            for message in store.messages_after(0, "spherorank.v1.alert")
        ]
    return [data["message"] for data in sent if data["kind"] == "scale_disagrees"]


def areas(ranking: Ranking) -> dict[str, float]:
    """Return the area on the readout day of each scored well, in µm²."""
    return {row.well: row.measures["area_um2"] for row in ranking.wells if row.score is not None}


def left_out(ranking: Ranking) -> dict[str, str]:
    return {each.well: each.reason for each in ranking.quality.left_out}


def run(service: ServiceProcess) -> Ranking:
    """Run the service once and return the newest ranking of day 10."""
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    return [each for each in service.rankings() if each.day == 10][-1]


def embeddings(service: ServiceProcess, ranking: Ranking) -> dict[VisitKey, Vector]:
    """Return the embedding of the newest version of each visit."""
    with service.store() as store:
        images = store.imaged(PLATE, ranking.encoder_id)
        newest = {image.key: image for image in images}
        observations = store.observations(list(newest.values()), ranking.encoder_id)
    return {each.key: each.embedding for each in observations}


@pytest.fixture(scope="module")
def true_areas(ranked_service: ServiceProcess) -> dict[str, float]:
    """Return the areas that the service measures while map and files agree."""
    return areas(ranked_service.rankings()[-1])


def test_a_well_whose_files_contradict_the_map_is_left_out_until_the_map_decides(
    service: ServiceProcess, true_areas: dict[str, float]
) -> None:
    scale = scale_of(service)
    well = max(service.wells())
    for file in service.well(well, 10):
        with_scale(file, scale / 2)
    checked = service.ask("check")
    assert f"plate {PLATE}: {scale:g} µm per pixel (plate map)" in checked.stdout
    first = run(service)
    assert first.final
    assert left_out(first).keys() == {well}
    assert "(TIFF resolution tags), the plate map" in left_out(first)[well]
    (row,) = [row for row in first.wells if row.well == well]
    assert (row.score, row.flags) == (None, (Flag.SCALE_DISAGREES,))
    (alert,) = alerts(service)
    assert PLATE in alert
    assert f"{scale / 2:g} µm per pixel (TIFF resolution tags)" in alert
    assert f"the plate map {scale:g} µm per pixel" in alert

    change_map(service, scale, "map")
    second = run(service)
    assert (second.final, second.revision, second.replaces) == (True, 2, 1)
    assert left_out(second) == {}
    assert areas(second) == pytest.approx(true_areas)

    change_map(service, scale, "file")
    third = run(service)
    assert (third.final, third.revision, left_out(third)) == (True, 3, {})
    expected = true_areas | {well: true_areas[well] / 4}
    assert areas(third) == pytest.approx(expected, rel=1e-3)


def test_a_plate_whose_map_is_wrong_is_measured_again_once_the_files_decide(
    service: ServiceProcess, ranked_service: ServiceProcess, true_areas: dict[str, float]
) -> None:
    scale = scale_of(service)
    change_map(service, 2 * scale)
    checked = service.ask("check").stdout
    assert f"day 7: {scale:g} µm per pixel (TIFF resolution tags), {PLATE}/day07/" in checked
    assert "scale_disagrees: the file says" in checked
    with service.running():
        service.wait_for(lambda: alerts(service), timeout_s=100)
        assert service.rankings() == []
        change_map(service, 2 * scale, "file")
        service.wait_for(lambda: [each for each in service.rankings() if each.final], timeout_s=100)
    (alert,) = alerts(service)
    assert f"{scale:g} µm per pixel (TIFF resolution tags)" in alert
    assert f"the plate map {2 * scale:g} µm per pixel" in alert
    ranking = run(service)
    assert (ranking.final, ranking.revision, left_out(ranking)) == (True, 1, {})
    assert len(areas(ranking)) == WELLS
    assert areas(ranking) == pytest.approx(true_areas, rel=1e-3)
    known = embeddings(ranked_service, ranking)
    found = embeddings(service, ranking)
    assert found.keys() == known.keys()
    assert all(np.allclose(found[key], known[key], atol=1e-4) for key in known)


def test_a_corrected_scale_of_the_map_corrects_the_ranking_and_lists_wells_without_files(
    service: ServiceProcess, true_areas: dict[str, float]
) -> None:
    scale = scale_of(service)
    change_map(service, scale, "map")
    assert areas(run(service)) == pytest.approx(true_areas)
    gone = max(service.wells())
    for file in service.well(gone, 7):
        file.rename(service.folder / file.name)
    change_map(service, 2 * scale, "map")
    corrected = run(service)
    assert (corrected.final, corrected.revision) == (True, 2)
    assert left_out(corrected).keys() == {gone}
    assert left_out(corrected)[gone].startswith("scale of day 7: measured with ")
    assert "expected its files in the drop folder" in left_out(corrected)[gone]
    expected = {well: 4 * area for well, area in true_areas.items() if well != gone}
    assert areas(corrected) == pytest.approx(expected, rel=1e-6)
    assert any("expected its files in the drop folder" in alert for alert in alerts(service))

    # The first scale again: the first measurement of every image is selected.
    change_map(service, scale, "map")
    restored = run(service)
    assert (restored.revision, left_out(restored)) == (3, {})
    assert areas(restored) == pytest.approx(true_areas)
