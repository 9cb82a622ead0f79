"""Tests of virtual training plates: repeatable, without held-out conditions and true kills."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import training.data.virtual_plates as module
from schemas.errors import ConfigError
from simulation.optics import OPTICS
from simulation.plate import plan_plate
from training.data.crops import Cropping, PlateCrops
from training.data.sources import crops_from_virtual_plates
from training.data.virtual_plates import (
    HELD_OUT_MECHANISM,
    HELD_OUT_OPTICS,
    VirtualWells,
    random_optics,
)

FEW = VirtualWells(wells=3, wells_on_other_days=2)
SMALL = Cropping(side_px=64)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def crops(cache: Path) -> PlateCrops:
    (crops,) = crops_from_virtual_plates([100_001], cache, cropping=SMALL, wells=FEW)
    return crops


def test_every_well_has_images_at_dosing_and_readout_and_some_on_another_day(
    crops: PlateCrops,
) -> None:
    days = {
        well: sorted(
            day for name, day in zip(crops.wells, crops.days.tolist(), strict=True) if name == well
        )
        for well in crops.wells
    }
    assert len(days) == 3
    assert all({7, 10} <= set(imaged) for imaged in days.values())
    assert sorted(len(imaged) for imaged in days.values()) == [2, 3, 3]
    assert crops.dosed_on_day == 7
    assert crops.crops.shape == (8, 3, 64, 64)


def test_a_virtual_plate_is_equal_in_any_cache_and_rendered_once(
    crops: PlateCrops, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (again,) = crops_from_virtual_plates([100_001], tmp_path, cropping=SMALL, wells=FEW)
    assert np.array_equal(again.crops, crops.crops)
    assert np.array_equal(again.measures, crops.measures)
    monkeypatch.setattr(module, "render_planes", None)
    (kept,) = crops_from_virtual_plates([100_001], cache, cropping=SMALL, wells=FEW)
    assert kept.folder == crops.folder


def test_the_true_kill_is_not_stored_with_the_crops(crops: PlateCrops) -> None:
    with np.load(crops.folder / "table.npz") as table:
        kept = set(table)
    assert kept == {
        "plate",
        "dosed_on_day",
        "background",
        "side_px",
        "wells",
        "days",
        "groups",
        "treatments",
        "measures",
    }


def test_the_held_out_mechanism_is_never_imaged() -> None:
    imaged = set()
    for seed in range(100_000, 100_020):
        plate = plan_plate(seed)
        imaged |= {
            plan.mechanism
            for plan, _ in module._choose_wells_and_days(
                np.random.default_rng(seed), plate, VirtualWells()
            )
        }
    assert HELD_OUT_MECHANISM not in imaged
    assert len(imaged) == 4  # the other three, and untreated


def test_random_optics_stay_below_the_held_out_optics() -> None:
    held_out, rng = OPTICS[HELD_OUT_OPTICS], np.random.default_rng(0)
    drawn = [random_optics(rng) for _ in range(500)]
    for trait in ("bending", "rim", "halo"):
        assert max(getattr(optics, trait) for optics in drawn) < 0.85 * getattr(held_out, trait)


def test_seeds_reserved_for_tests_and_benchmarks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has 7; expected 100000 or more"):
        crops_from_virtual_plates([7, 100_000], tmp_path)


@pytest.mark.parametrize(
    ("seeds", "wells", "message"),
    [([], FEW, "seeds: is empty"), ([100_001], replace(FEW, wells=0), "wells: is 0")],
)
def test_missing_seeds_or_wells_are_reported(
    seeds: list[int], wells: VirtualWells, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        crops_from_virtual_plates(seeds, tmp_path, cropping=SMALL, wells=wells)
