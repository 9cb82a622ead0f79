"""The option ``--audit`` of ``spherorank rank``, run as a real process."""

import subprocess
from pathlib import Path

import pandas as pd

from schemas.trajectory import Trajectories
from tests.known_plates import plate
from tests.service_process import SPHERORANK

KILLS = (0.0, 0.2, 0.5, 1.0, 1.2, 1.5, 2.0)


def profiles(known: Trajectories, *, exchanged: tuple[int, int]) -> pd.DataFrame:
    """Return a plate as a table of profiles, with the labels of two wells exchanged."""
    label = list(range(len(known.wells)))
    one, other = exchanged
    label[one], label[other] = other, one
    rows = [
        {
            "Metadata_Plate": known.plate,
            "Metadata_Well": well,
            "Metadata_Day": day,
            "Metadata_Group": str(known.groups[label[place]]),
            "Metadata_Treatment": known.treatments[label[place]],
        }
        | dict(zip(known.feature_names, known.features[place, column], strict=True))
        for place, well in enumerate(known.wells)
        for column, day in enumerate(known.days)
    ]
    return pd.DataFrame(rows)


def rank(folder: Path, *options: object) -> "subprocess.CompletedProcess[str]":
    days = ["--baseline-day", 7, "--readout-day", 10]
    command = [
        SPHERORANK,
        "rank",
        "profiles",
        folder / "profiles.csv",
        "--out",
        folder / "r.csv",
        *days,
        *options,
    ]
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, timeout=100
    )


def test_rank_prints_the_labels_in_doubt_and_writes_no_extra_file(tmp_path: Path) -> None:
    known = plate(KILLS, encoder_id="")
    killed = known.treatments.index("drug6:1 uM")
    profiles(known, exchanged=(4, killed)).to_csv(tmp_path / "profiles.csv", index=False)
    done = rank(tmp_path, "--audit")
    assert done.returncode == 0, done.stderr
    assert "P1: labels in doubt" in done.stdout
    (row,) = [line for line in done.stdout.splitlines() if "exchanged" in line]
    assert row.split()[1:3] == [known.wells[4], known.wells[killed]]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "profiles.csv",
        "r-wells.csv",
        "r.csv",
    ]


def test_an_audit_of_a_specimen_is_refused(tmp_path: Path) -> None:
    done = subprocess.run(
        [SPHERORANK, "rank", "specimen", "S", "--audit"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=100,
    )
    assert done.returncode == 2
    assert "--audit" in done.stderr
