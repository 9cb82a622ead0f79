"""Compare single rankings with the specimen ranking of three virtual plates in the real service.

Run ``python -m benchmarks.specimen_images [--seed 21]``.
"""

import argparse
import csv
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from schemas.ranking import Ranking, TreatmentRank
from schemas.specimen import SpecimenRanking, SpecimenTreatment
from simulation.microscope import virtual_microscopes
from simulation.plate import DOSED_ON_DAY, READOUT_DAY
from simulation.robot import write_plates

SPECIMEN = "PAT-07"
PLATES = ("plate-1", "plate-2", "plate-3")


def write_specimen_plates(folder: Path, seed: int, size_px: int) -> dict[str, float]:
    """Write three virtual plates with maps to a folder; return each treatment's mean true kill.

    The plates have the same treatments, but other tissue and replicates.
    """
    (scope,) = virtual_microscopes(1, seed, size_px)
    scopes = [
        replace(scope, plate=replace(scope.plate, index=index, name=name))
        for index, name in enumerate(PLATES, start=1)
    ]
    write_plates(folder, scopes, days=(DOSED_ON_DAY, READOUT_DAY))
    for name in PLATES:
        toml = folder / "drop" / name / f"{name}.plate.toml"
        toml.write_text(f'specimen = "{SPECIMEN}"\n{toml.read_text()}')
    treatments = {plan.well: plan.treatment for plan in scope.plate.wells}
    kills = defaultdict(list)
    for row in csv.DictReader((folder / "truth.csv").open()):
        if int(row["day"]) == READOUT_DAY:
            kills[treatments[row["well"]]].append(float(row["kill"]))
    return {treatment: float(np.mean(own)) for treatment, own in kills.items()}


def run_service(folder: Path) -> None:
    """Run ``spherorank run --once`` on the images in a folder."""
    config = folder / "spherorank.toml"
    config.write_text(
        f'[source]\nsettle_s = 0.3\n[health]\nhttp = ""\n[publisher]\nevents = "ipc://{folder}'
        f'/events"\nrequests = "ipc://{folder}/requests"\n'
    )
    subprocess.run(
        [sys.executable, "-m", "daemon", "run", "--once", "--config", str(config)],
        check=True,
        stderr=subprocess.DEVNULL,
    )


def agreement_with(
    kills: Mapping[str, float], rows: Sequence[TreatmentRank | SpecimenTreatment]
) -> float:
    """Return Spearman's correlation of true kills by treatment with the scores of ranking rows."""
    return float(
        spearmanr([row.score for row in rows], [kills[row.treatment] for row in rows]).statistic
    )


def main() -> None:
    """Print the correlation, largest score, gain and offset, one row per plate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--size", type=int, default=192)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        kills = write_specimen_plates(Path(name), arguments.seed, arguments.size)
        run_service(Path(name))
        rankings = Path(name) / "rankings"
        together = SpecimenRanking.model_validate_json(
            (rankings / f"specimen-{SPECIMEN}" / "latest.json").read_bytes()
        )
        alone = [
            Ranking.model_validate_json((rankings / plate / "latest.json").read_bytes())
            for plate in PLATES
        ]
    print(f"{'':14}{'Spearman with the kill':>24}{'largest score':>15}{'gain':>8}{'offset':>8}")
    for ranking, plate in zip(alone, together.plates, strict=True):
        rho, largest = agreement_with(kills, ranking.treatments), ranking.treatments[0].score
        print(
            f"{plate.plate:14}{rho:24.3f}{largest:15.1f}{plate.gain or 1:8.2f}"
            f"{plate.offset or 0:8.2f}"
        )
    print(
        f"{'together':14}{agreement_with(kills, together.treatments):24.3f}"
        f"{together.treatments[0].score:15.1f}"
    )
    print(
        "treatments:",
        ", ".join(
            f"{count} {kind}"
            for kind, count in Counter(row.agreement for row in together.treatments).items()
        ),
    )


if __name__ == "__main__":
    main()
