"""Output and exit codes of the commands, run as real processes."""

import json
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import tifffile

from inference.bundle import load_bundle
from schemas.exit_codes import ExitCode
from tests.service_process import PLATE, SPHERORANK, ServiceProcess


def call(*arguments: object, cwd: Path | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [SPHERORANK, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=100,
    )


def test_check_prints_every_problem_at_once(empty_service: ServiceProcess) -> None:
    (empty_service.folder / "logs").write_text("a file where a folder is expected")
    empty_service.configure(source='pattern = "{plate}/{day}.tif"\npath = "nowhere"')
    done = call("check", "--config", empty_service.config)
    assert done.returncode == 78
    for word in ("source.pattern", "{well}", "nowhere", "output.logs"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_check_accepts_a_valid_configuration(service: ServiceProcess) -> None:
    done = call("check", "--config", service.config)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("[source]\nplains = 3\n", ["source.plains", "unknown", "planes"]),
        ("[sorce]\nplanes = 3\n", ["sorce", "unknown", "source"]),
        ('[source]\nplanes = "three"\n', ["source.planes", "'three'", "integer"]),
        (
            "[ranking]\nreadout_deadline_h = -1\n",
            ["ranking.readout_deadline_h", "-1", "greater than or equal to 0"],
        ),
        ("[source\n", ["TOML"]),
    ],
)
def test_a_wrong_configuration_names_file_key_value_and_expectation(
    tmp_path: Path, config: str, words: list[str]
) -> None:
    path = tmp_path / "spherorank.toml"
    path.write_text(config)
    done = call("run", "--config", path)
    assert done.returncode == 78
    for word in [str(path), *words]:
        assert word in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_configuration_file_is_named(tmp_path: Path) -> None:
    done = call("run", "--config", tmp_path / "none.toml")
    assert done.returncode == 78
    assert "none.toml: does not exist" in done.stderr


def test_a_wrong_environment_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPHERORANK_SOURCE__PLANES", "none")
    monkeypatch.setenv("SPHERORANK_SORCE__PLANES", "3")
    done = call("check")
    assert done.returncode == 78
    assert "environment variable SPHERORANK_SOURCE__PLANES: is 'none'" in done.stderr
    assert "environment variable SPHERORANK_SORCE__PLANES: is unknown" in done.stderr


@pytest.mark.parametrize(
    ("toml", "wells", "words"),
    [
        ("", "well,group,treatment\nB2,untreated,\nB02,untreated,\n", ["line 3", "B02", "line 2"]),
        (
            "",
            "well,group,treatment\nB02,screening,gemcitabine 1 uM\n",
            ["line 2", "gemcitabine 1 uM", "compound:amount unit"],
        ),
        ("", "well,group,treatment\nB02,controls,\n", ["line 2", "'controls'", "untreated"]),
        (
            "readout_dy = 10\n",
            "well,group,treatment\nB02,untreated,\n",
            ["readout_dy", "readout_day"],
        ),
    ],
)
def test_check_names_line_value_and_expectation_of_a_wrong_plate_map(
    empty_service: ServiceProcess, toml: str, wells: str, words: list[str]
) -> None:
    folder = empty_service.drop / "P"
    folder.mkdir()
    (folder / "P.plate.toml").write_text(
        f'plate = "P"\nseeded_at = 2026-11-10T09:00:00+01:00\n{toml}'
    )
    (folder / "P.wells.csv").write_text(wells)
    done = call("check", "--config", empty_service.config)
    assert done.returncode == 0
    for word in ["P/P.", *words]:
        assert word in done.stderr
    assert "The service can start. Plate maps and assays that are not used: 1." in done.stdout
    assert "No problem found" not in done.stdout


def test_check_ends_with_0_if_only_an_assay_is_wrong(service: ServiceProcess) -> None:
    (service.drop / PLATE / f"{PLATE}.assay.csv").write_text("well,viability_percent\nB02,many\n")
    done = call("check", "--config", service.config)
    assert done.returncode == 0
    assert "'many'" in done.stderr
    assert "Plate maps and assays that are not used: 1." in done.stdout


def test_check_prints_problems_of_plates_beside_one_that_prevents_the_start(
    service: ServiceProcess,
) -> None:
    (service.drop / PLATE / f"{PLATE}.wells.csv").write_text(
        "well,group,treatment\nB02,controls,\n"
    )
    service.configure(ranking='forecaster = "oracle"')
    done = call("check", "--config", service.config)
    assert done.returncode == 78
    assert "'controls'" in done.stderr
    assert "oracle" in done.stderr
    assert "can start" not in done.stdout


def test_the_service_starts_with_a_wrong_plate_map_beside_a_valid_one(
    service: ServiceProcess,
) -> None:
    (service.drop / "WRONG").mkdir()
    (service.drop / "WRONG" / "WRONG.plate.toml").write_text('plate = "WRONG"\n')
    assert service.ask("check").returncode == 0
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    assert [ranking.final for ranking in service.rankings()] == [False, True]


def test_listen_reports_on_stderr_that_nothing_publishes_and_that_it_publishes_again(
    empty_service: ServiceProcess,
) -> None:
    events = f"ipc://{empty_service.folder}/events"
    command = [SPHERORANK, "listen", "--connect", events, "--requests", empty_service.requests]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as listener,
    ):
        assert listener.stderr is not None
        started_s = time.monotonic()
        silent = listener.stderr.readline().decode()
        assert 15 <= time.monotonic() - started_s < 25
        assert f"{events}: no message for 15 s, not even a status" in silent
        with empty_service.running():
            assert f"{events}: messages arrive again" in listener.stderr.readline().decode()
        listener.terminate()


def test_status_without_a_service_says_so(empty_service: ServiceProcess) -> None:
    done = call("status", "--config", empty_service.config)
    assert done.returncode == 1
    assert "no answer" in done.stderr.lower() or "does not answer" in done.stderr.lower()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--version"], ExitCode.DONE),
        (["acquire", "lamp-off"], ExitCode.DONE),  # without a microscope there is no lamp
        (["rank", "plate", "P-9"], ExitCode.FAILED),
        (["rank", "specimen", "PAT-07"], ExitCode.FAILED),
        (["status", "--config", "{config}"], ExitCode.FAILED),
        ([], ExitCode.WRONG_USAGE),
        (["rank"], ExitCode.WRONG_USAGE),
        (["rank", "plate"], ExitCode.WRONG_USAGE),
        (["rank", "plate", "P-9", "--day", "seven"], ExitCode.WRONG_USAGE),
        (["rank", "profiles", "t.csv"], ExitCode.WRONG_USAGE),
        (["acquire", "run", "P-9"], ExitCode.FAILED),
        (["acquire", "run", "P-9", "--day", "7", "--well", "ZZ9"], ExitCode.WRONG_USAGE),
        (["run", "--config", "none.toml"], ExitCode.WRONG_CONFIGURATION),
        (["embed", "--store", "--bundle", "nowhere"], ExitCode.WRONG_CONFIGURATION),
        (["acquire", "devices"], ExitCode.WRONG_CONFIGURATION),  # no microscope is configured
    ],
)
def test_each_command_ends_with_the_exit_code_of_its_outcome(
    empty_service: ServiceProcess, tmp_path: Path, arguments: list[str], code: ExitCode
) -> None:
    done = call(*(text.format(config=empty_service.config) for text in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_rank_of_an_unknown_plate_names_the_known_ones(empty_service: ServiceProcess) -> None:
    done = call("rank", "plate", "P-9", "--config", empty_service.config)
    assert done.returncode == 1
    assert "P-9" in done.stderr


def test_embed_writes_a_table_and_names_refused_files(
    service: ServiceProcess, tmp_path: Path
) -> None:
    images = sorted((service.drop / PLATE / "day10").glob("B0*_z2.tif"))
    bad = tmp_path / "bad.tif"
    bad.write_text("no image")
    done = call("embed", *images, bad, "--out", tmp_path / "e.parquet", "--config", service.config)
    assert done.returncode == 1
    assert str(bad) in done.stderr
    table = pd.read_parquet(tmp_path / "e.parquet")
    assert list(table["Metadata_File"]) == [str(path) for path in images]
    assert table.filter(like="embedding_").shape == (
        len(images),
        load_bundle("default").card.dimension,
    )
    assert table.filter(like="embedding_").notna().all(axis=None)


def test_measure_writes_a_row_and_a_mask_per_image_and_names_files_without_scale(
    service: ServiceProcess, tmp_path: Path
) -> None:
    images = sorted((service.drop / PLATE / "day10").glob("B0*_z2.tif"))
    plain = tmp_path / "plain.png"
    cv2.imwrite(str(plain), tifffile.imread(images[0]))
    bad = tmp_path / "bad.tif"
    bad.write_text("no image")
    done = call(
        "measure",
        *images,
        plain,
        bad,
        "--out",
        tmp_path / "m.csv",
        "--masks",
        tmp_path / "masks",
        "--pieces",
        tmp_path / "p.csv",
    )
    assert done.returncode == 1
    assert str(bad) in done.stderr
    assert (
        f"{plain}: has no scale; measured in pixels, explosion_degree is relative to the "
        "size of the tissue (--um-per-px gives a scale)"
    ) in " ".join(done.stderr.split())
    table = pd.read_csv(tmp_path / "m.csv")
    assert list(table["file"]) == [*map(str, images), str(plain)]
    calibrated, counted = table.iloc[0], table.iloc[-1]
    assert calibrated["area_um2"] == pytest.approx(
        counted["area_px"] * calibrated["um_per_px"] ** 2
    )
    for path in (*images, plain):
        mask = cv2.imread(str(tmp_path / "masks" / f"{path.stem}.png"), cv2.IMREAD_UNCHANGED)
        assert set(np.unique(mask)) == {0, 255}
    assert np.count_nonzero(mask) == counted["area_px"]
    pieces = pd.read_csv(tmp_path / "p.csv").groupby("file")
    for _, image in table.iterrows():
        own = pieces.get_group(image["file"])
        area = "area_px" if image["file"] == str(plain) else "area_um2"
        assert list(own["piece"]) == list(range(1, round(image["pieces"]) + 1))
        assert own[area].sum() == pytest.approx(image[area])
        assert own[area].iloc[0] == pytest.approx(image[f"largest_{area}"])


def test_measure_refuses_one_file_for_images_and_pieces(tmp_path: Path) -> None:
    table = tmp_path / "m.csv"
    done = call("measure", tmp_path / "a.tif", "--out", table, "--pieces", table)
    assert done.returncode == ExitCode.WRONG_USAGE
    assert "different files for --out and --pieces" in " ".join(done.stderr.split())


def test_measure_applies_one_scale_to_all_images(service: ServiceProcess, tmp_path: Path) -> None:
    [image, *_] = sorted((service.drop / PLATE / "day10").glob("*_z2.tif"))
    done = call("measure", image, "--um-per-px", 2, "--out", tmp_path / "m.csv")
    assert done.returncode == 0
    assert f"{image}: measured with --um-per-px 2, but the file says " in done.stderr
    assert "µm per pixel (TIFF resolution tags)" in done.stderr
    assert pd.read_csv(tmp_path / "m.csv").loc[0, "um_per_px"] == 2


def test_measure_refuses_an_unwritable_mask_folder_before_it_measures(
    service: ServiceProcess, tmp_path: Path
) -> None:
    [image, *_] = sorted((service.drop / PLATE / "day10").glob("*_z2.tif"))
    (tmp_path / "masks").write_text("a file")
    done = call("measure", image, "--out", tmp_path / "m.csv", "--masks", tmp_path / "masks")
    assert done.returncode == 1
    assert f"{tmp_path / 'masks'}: cannot take masks" in done.stderr
    assert not (tmp_path / "m.csv").exists()


def test_measure_names_pixels_outside_the_stated_bits(tmp_path: Path) -> None:
    bright = tmp_path / "bright.tif"
    tifffile.imwrite(bright, np.full((128, 128), 5000, dtype=np.uint16))
    done = call("measure", bright, "--bits", 12, "--out", tmp_path / "m.csv")
    assert done.returncode == 1
    for word in ("bright.tif", "5000", "4095"):
        assert word in done.stderr


def names_both_files(status: str) -> bool:
    return "overview.tif: " in status and "pending       1 plates" in status


def test_status_lists_pending_rejected_and_unreadable_files_with_their_reasons(
    empty_service: ServiceProcess,
) -> None:
    (empty_service.drop / "P9" / "day07").mkdir(parents=True)
    (empty_service.drop / "P9" / "day07" / "B02_z1.tif").write_bytes(b"image")
    (empty_service.drop / "overview.tif").write_bytes(b"image")
    with empty_service.running():
        empty_service.wait_for(lambda: names_both_files(empty_service.ask("status").stdout))
        answer = json.loads(empty_service.ask("status", "--json").stdout)
        text = empty_service.ask("status").stdout
    assert answer["pending"] == [
        {
            "plate": "P9",
            "reason": "no plate map; expected P9.plate.toml and P9.wells.csv",
            "images": 1,
        }
    ]
    [rejected] = answer["rejected_files"]
    assert rejected["path"] == "overview.tif"
    assert "does not fit the pattern" in rejected["reason"]
    assert datetime.now(UTC) - datetime.fromisoformat(rejected["rejected_at"]) < timedelta(
        minutes=2
    )
    assert (answer["rejected"], answer["unreadable"], answer["unreadable_files"]) == (1, 0, [])
    assert "pending       1 plates and reasons\n" in text
    assert f"overview.tif: {rejected['reason']}\n" in text
    with empty_service.running():  # the list survives a restart
        empty_service.wait_for(lambda: "overview.tif" in empty_service.ask("status").stdout)
        again = json.loads(empty_service.ask("status", "--json").stdout)
    assert [each["path"] for each in again["rejected_files"]] == ["overview.tif"]
