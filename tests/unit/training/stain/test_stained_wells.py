"""Tests of training images from stained wells: virtual plates as real ones, and wrong tables."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from schemas.errors import ConfigError, ImageError
from simulation.fluorescence import CHANNELS, render_stains, true_cells
from simulation.microscope import virtual_microscopes
from training.stain.stained_wells import read_stained_wells
from training.stain.train import train_stain

pytestmark = pytest.mark.train

DEAD_WEIGHT = 1 / 0.6  # of the simulated stains


@pytest.fixture(scope="module")
def stained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """Return the table of two stained wells of a virtual plate, and their true dead shares."""
    folder = tmp_path_factory.mktemp("stained")
    (scope,) = virtual_microscopes(1, 5, 256)
    dead_shares = {plan.well: 1 - true_cells(scope, plan).live_share for plan in scope.plate.wells}
    ordered = sorted(scope.plate.wells, key=lambda plan: dead_shares[plan.well])
    lines = ["bright_field,live,dead"]
    for plan in (ordered[0], ordered[-1]):
        names = [
            f"{plan.well}_{channel}.tif" for channel in ("BF", CHANNELS["live"], CHANNELS["dead"])
        ]
        stains = render_stains(scope, plan)
        images = (scope.render(plan, 10).planes, stains["live"], stains["dead"])
        for name, planes in zip(names, images, strict=True):
            tifffile.imwrite(folder / name, planes, photometric="minisblack", metadata=None)
        lines.append(",".join(names))
    table = folder / "wells.csv"
    table.write_text("\n".join(lines) + "\n")
    return table, [dead_shares[plan.well] for plan in (ordered[0], ordered[-1])]


def test_the_dead_share_of_stained_wells_is_that_of_their_cells(
    stained: tuple[Path, list[float]],
) -> None:
    table, truth = stained
    examples = read_stained_wells(table, dead_weight=DEAD_WEIGHT, side_px=64)
    assert examples.inputs.shape == (2, 2, 64, 64)
    tissue = examples.inputs[:, 1] > 0.9
    found = [
        float(np.nanmean(share[inside]))
        for share, inside in zip(examples.dead_share, tissue, strict=True)
    ]
    assert found == pytest.approx(truth, abs=0.1)
    assert found[1] > found[0] + 0.1


def test_wrong_tables_and_images_are_refused_with_the_reason(
    stained: tuple[Path, list[float]], tmp_path: Path
) -> None:
    table, _ = stained
    header, first, second = table.read_text().split()
    wrong = table.with_name("wrong.csv")

    def refusal(text: str) -> str:
        wrong.write_text(text)
        with pytest.raises((ConfigError, ImageError)) as refused:
            read_stained_wells(wrong, dead_weight=DEAD_WEIGHT, side_px=64)
        return str(refused.value)

    bright, _, dead = first.split(",")
    assert "without dead; expected bright_field, live, dead" in refusal("bright_field,live\na,b\n")
    assert "has 1 rows; expected at least two wells" in refusal(f"{header}\n{first}\n")
    swapped = f"{bright},{bright},{dead}"
    assert "looks like bright field" in refusal(f"{header}\n{swapped}\n{second}\n")
    assert "cannot be read" in refusal(f"{header}\n{bright},none.tif,{dead}\n{second}\n")
    tifffile.imwrite(table.with_name("small.tif"), np.zeros((64, 64), np.uint16))
    small = refusal(f"{header}\n{bright},small.tif,{dead}\n{second}\n")
    assert "64×64 pixels; expected 256×256" in small
    with pytest.raises(ConfigError, match=r"--dead-weight.*is missing"):
        train_stain(tmp_path, seed=0, steps=1, images=2, threads=1, renderers=(), wells=table)
