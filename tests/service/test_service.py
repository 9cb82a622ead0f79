"""The service in its own process: start, stop, kill, damaged files and the resulting rankings."""

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import tifffile

from benchmarks.faults import run_campaign
from schemas.requests import StatusReply
from tests.service_process import DAYS, PLATE, WELLS, ServiceProcess


def test_a_plate_goes_from_images_to_a_final_ranking(service: ServiceProcess) -> None:
    before = {path: path.stat() for path in service.drop.rglob("*")}
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    with service.store() as store:
        [encoder_id] = {ranking.encoder_id for ranking in store.rankings(PLATE)}
        images = store.imaged(PLATE, encoder_id)
        messages = store.messages_after(0, "spherorank.v1.observation.")
    assert (
        len({(image.key.well, image.day) for image in images})
        == len(images)
        == len(messages)
        == WELLS * len(DAYS)
    )
    [provisional, final] = service.rankings()
    assert (provisional.day, provisional.final, final.day, final.final) == (8, False, 10, True)
    assert len(final.treatments) == 3
    assert not final.quality.missing_images
    folder = service.folder / "rankings" / PLATE
    assert {path.name for path in folder.iterdir()} == {
        *(
            f"{name}{end}"
            for name in ("day08-r1", "day10-r1")
            for end in (".json", ".csv", "-wells.csv", ".html")
        ),
        "latest.json",
    }
    assert json.loads((folder / "latest.json").read_text()) == json.loads(
        (folder / "day10-r1.json").read_text()
    )
    after = {path: path.stat() for path in service.drop.rglob("*")}
    assert before.keys() == after.keys()
    assert all(
        (before[path].st_mtime_ns, before[path].st_size)
        == (after[path].st_mtime_ns, after[path].st_size)
        for path in before
    )


def test_measures_of_the_tissue_are_in_the_message_the_ranking_and_the_page(
    ranked_service: ServiceProcess,
) -> None:
    with ranked_service.store() as store:
        sent = [
            json.loads(message.body)["data"]
            for message in store.messages_after(0, "spherorank.v1.observation.")
        ]
    assert all(
        data["measures"]["area_um2"] > 1000 and data["condition"] == "intact"
        for data in sent
        if data["day"] == 7
    )
    [*_, final] = ranked_service.rankings()
    scored = [row for row in final.wells if row.score is not None]
    assert all(
        {"area_um2", "circularity", "od_mean", "area_um2_change"} <= row.measures.keys()
        for row in scored
    )
    strongest, weakest = final.treatments[0], final.treatments[-1]
    # Treated tissue of this plate shrinks.
    assert strongest.measures["area_um2_change"] < weakest.measures["area_um2_change"]
    page = (ranked_service.folder / "rankings" / PLATE / "day10-r1.html").read_text()
    assert page.count("data:image/jpeg;base64,") == len(scored)


def test_a_message_after_dosing_contains_the_departure_of_each_imaged_day(
    ranked_service: ServiceProcess,
) -> None:
    with ranked_service.store() as store:
        sent = [
            json.loads(message.body)["data"]
            for message in store.messages_after(0, "spherorank.v1.observation.")
        ]
    assert all(not data["departures"] for data in sent if data["day"] <= 7)
    last = next(data for data in reversed(sent) if data["day"] == 10)
    assert [departure["day"] for departure in last["departures"]] == [8, 10]
    assert all(isinstance(departure["departure"], float) for departure in last["departures"])


def test_a_second_run_publishes_nothing_again(ranked_copy: ServiceProcess) -> None:
    with ranked_copy.store() as store:
        before = [
            (message.topic, message.body)
            for message in store.messages_after(0)
            if ".status" not in message.topic
        ]
    assert ranked_copy.run_once().returncode == 0
    with ranked_copy.store() as store:
        after = [
            (message.topic, message.body)
            for message in store.messages_after(0)
            if ".status" not in message.topic
        ]
    assert after == before


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_seven_kills_lose_and_double_no_image_ranking_or_message(
    ranked_service: ServiceProcess, tmp_path: Path
) -> None:
    # `python -m benchmarks.faults` kills more often.
    result = run_campaign(ranked_service, tmp_path / "killed", kills=7, seed=20)
    assert (result.kills, result.images, result.rankings) == (7, WELLS * len(DAYS), 2)
    assert (result.lost, result.doubled, result.differing) == (0, 0, 0)
    assert result.missing_messages == (0, 0)
    assert result.conflicts == (0, 0)


def _damage_files(folder: Path) -> dict[str, str]:
    """Damage one file of each of five wells; return a word of the expected reason by file name."""
    empty, cut, text, floats, huge = sorted({path.name[:3] for path in folder.iterdir()})[:5]
    whole = (folder / f"{empty}_z1.tif").read_bytes()
    (folder / f"{empty}_z1.tif").write_bytes(b"")
    (folder / f"{cut}_z2.tif").write_bytes(whole[: len(whole) // 2])
    (folder / f"{text}_z3.tif").write_bytes(b"lamp warming up, please wait\n" * 40)
    tifffile.imwrite(
        folder / f"{floats}_z1.tif", tifffile.imread(folder / f"{floats}_z2.tif").astype("float32")
    )
    tifffile.imwrite(folder / f"{huge}_z1.tif", tifffile.imread(folder / f"{huge}_z2.tif"))
    with tifffile.TiffFile(folder / f"{huge}_z1.tif", mode="r+b") as tif:
        tif.pages[0].tags["ImageWidth"].overwrite(100_000)  # type: ignore[union-attr] # the first page is a whole page
        tif.pages[0].tags["ImageLength"].overwrite(100_000)  # type: ignore[union-attr] # as above
    return {
        f"{empty}_z1.tif": "0 bytes",
        f"{cut}_z2.tif": "",
        f"{text}_z3.tif": "TIFF",
        f"{floats}_z1.tif": "float32",
        f"{huge}_z1.tif": "100000",
    }


def test_each_damaged_file_is_rejected_with_its_reason_and_all_other_wells_are_ranked(
    service: ServiceProcess,
) -> None:
    service.configure(ranking="readout_deadline_h = 0", source="plane_timeout_s = 0.5")
    expected = _damage_files(service.drop / PLATE / "day10")
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        service.command("rejected"), capture_output=True, text=True, check=True
    ).stdout
    for name, word in expected.items():
        [line] = [
            line for line in listed.splitlines() if line.split("\t")[0] == f"{PLATE}/day10/{name}"
        ]
        assert word.lower() in line.lower()
    with service.store() as store:
        rejected = [
            json.loads(message.body)["data"]["files"]
            for message in store.messages_after(0, f"spherorank.v1.rejected.{PLATE}")
        ]
    assert sorted(path for files in rejected for path in files) == sorted(
        f"{PLATE}/day10/{name}" for name in expected
    )
    [*_, last] = service.rankings()
    assert last.day == 10
    assert last.final
    ranked = {well.well for well in last.wells if well.score is not None}
    assert len(ranked) >= WELLS - len(expected)


def test_a_rejected_file_that_is_written_again_is_ingested(service: ServiceProcess) -> None:
    service.configure(source="plane_timeout_s = 2.0")  # the wait for the end of a cut file
    [first, *_] = service.well(service.wells()[0], 10)
    whole = first.read_bytes()
    first.write_bytes(whole[:1000])
    with service.running():
        service.wait_for(lambda: service.events("image.rejected"))
        first.write_bytes(whole)
        service.wait_for(
            lambda: [
                ranking
                for ranking in service.rankings()
                if ranking.final and not ranking.quality.missing_images
            ]
        )
    assert not subprocess.run(
        service.command("rejected"), capture_output=True, text=True, check=True
    ).stdout


def test_a_late_image_causes_a_second_revision_that_replaces_the_first(
    service: ServiceProcess, tmp_path: Path
) -> None:
    service.configure(ranking="readout_deadline_h = 0")
    aside = tmp_path / "aside"
    aside.mkdir()
    late = service.wells()[5]
    for path in service.well(late, 10):
        path.rename(aside / path.name)
    with service.running():
        service.wait_for(lambda: [ranking for ranking in service.rankings() if ranking.final])
        [first] = [ranking for ranking in service.rankings() if ranking.day == 10]
        for path in aside.iterdir():
            shutil.copy(path, service.drop / PLATE / "day10" / path.name)
        service.wait_for(
            lambda: [
                ranking
                for ranking in service.rankings()
                if ranking.day == 10 and ranking.revision == 2
            ]
        )
    [_, second] = [ranking for ranking in service.rankings() if ranking.day == 10]
    assert first.quality.missing_images == (late,)
    assert (second.replaces, second.final, second.quality.missing_images) == (1, True, ())


def test_a_plate_is_pending_until_its_map_arrives(service: ServiceProcess, tmp_path: Path) -> None:
    wells = service.drop / PLATE / f"{PLATE}.wells.csv"
    wells.rename(tmp_path / "aside.csv")
    with service.running():
        service.wait_for(lambda: (status := _status(service)) and status.held)
        assert PLATE in (_status(service) or pytest.fail("no status")).held
        assert not service.events("image.stored")
        (tmp_path / "aside.csv").rename(wells)
        service.wait_for(lambda: [ranking for ranking in service.rankings() if ranking.final])
        service.wait_for(lambda: (status := _status(service)) and not status.held)


def _status(service: ServiceProcess) -> StatusReply | None:
    """Return the status of the running service, or None without an answer."""
    done = subprocess.run(
        service.command("status", "--json"), capture_output=True, text=True, check=False
    )
    return StatusReply.model_validate_json(done.stdout) if done.returncode == 0 else None


def test_a_signal_stops_the_service_with_a_last_status_message(
    empty_service: ServiceProcess,
) -> None:
    with empty_service.running() as process:
        empty_service.wait_for(lambda: _status(empty_service))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    with empty_service.store() as store:
        states = [
            json.loads(message.body)["data"]["state"]
            for message in store.messages_after(0, "spherorank.v1.status")
        ]
    assert states[0] == "online"
    assert states[-1] == "stopping"


def test_sighup_stops_the_service_with_an_exit_code_after_which_systemd_starts_it_again(
    empty_service: ServiceProcess,
) -> None:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # the tests may run under nohup
    with empty_service.running() as process:
        empty_service.wait_for(lambda: _status(empty_service))
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=60) == 129
    assert [each["signal"] for each in empty_service.events("service.stopping")] == [signal.SIGHUP]


def test_a_second_signal_ends_the_service_at_once(service: ServiceProcess) -> None:
    with service.running() as process:
        service.wait_for(lambda: service.events("image.stored"))
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) in (0, 128 + signal.SIGTERM, 128 + signal.SIGINT)
    assert service.run_once().returncode == 0
    assert [ranking.final for ranking in service.rankings()] == [False, True]


def test_a_missing_drop_folder_raises_an_alert_and_loses_no_image(
    service: ServiceProcess, tmp_path: Path
) -> None:
    with service.running():
        service.wait_for(lambda: len(service.events("image.stored")) >= 5)
        service.drop.rename(tmp_path / "unmounted")
        service.wait_for(lambda: service.events("alert.raised"))
        [alert] = service.events("alert.raised")
        assert alert["kind"] == "source_gone"
        (tmp_path / "unmounted").rename(service.drop)
        service.wait_for(lambda: [ranking for ranking in service.rankings() if ranking.final])
    assert not service.events("image.rejected")


def test_the_rank_command_writes_a_lost_file_of_the_same_ranking_again(
    ranked_copy: ServiceProcess,
) -> None:
    folder = ranked_copy.folder / "rankings" / PLATE
    whole = (folder / "day10-r1.json").read_bytes()
    (folder / "day10-r1.json").unlink()
    done = subprocess.run(
        ranked_copy.command("rank", "plate", PLATE), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (folder / "day10-r1.json").read_bytes() == whole
    assert len(ranked_copy.rankings()) == 2
