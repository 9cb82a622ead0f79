"""Predictions of a stain bundle in rankings, on a real store with simulated observations."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from daemon.config import load_config
from daemon.tissue_analysis import TissueMethod, analyse_tissue
from daemon.wiring.networks import open_tissue, present_method
from inference.tissue.measures import measuring_method
from schemas.assay import Assay
from schemas.errors import ConfigError
from schemas.observation import Observation
from schemas.plate_map import PlateMap
from tests.drawn_planes import disc, expose
from tests.made_up_site import Site, small

KILLS = {f"drug{number}:1 uM": share for number, share in enumerate((0.05, 0.35, 0.65, 0.95))}
WITH_STAIN, OTHER_STAIN = (measuring_method("classical-3", stain) for stain in ("a-1", "b-1"))


class StainedSite(Site):
    """A site whose kill is visible in the predicted stain alone."""

    def look(self, plate: PlateMap, well: str, day: int, **options: object) -> Observation:
        seen = super().look(plate, well, day, **options)  # type: ignore[arg-type]
        treatment = plate.by_well[well].treatment
        share = KILLS.get(treatment, 0.0) if day > plate.dosed_on_day else 0.0
        dead = 0.05 + 0.8 * share + 0.02 * float(np.random.default_rng(len(seen.digest)).random())
        return replace(
            seen,
            measures=seen.measures
            | {
                "predicted_dead_area_um2": dead * seen.measures["area_um2"],
                "predicted_dead_share_core": dead,
            },
        )

    def assayed(self, name: str, number: int) -> PlateMap:
        """Store the images and the assay of a plate, and return its map."""
        plate = self.add(small(name, number), days=(7, 10))
        noise = np.random.default_rng(number)
        viability = {
            entry.well: 100 * (1 - KILLS.get(entry.treatment, 0.0)) + float(noise.normal(0, 1))
            for entry in plate.entries
        }
        self.store.save_assay(Assay(plate=name, viability_percent=viability), self.now)
        return plate


@pytest.fixture
def stained(site: Site) -> StainedSite:
    return StainedSite(site.store)


def test_predictions_of_a_stain_are_features_of_deterioration(stained: StainedSite) -> None:
    stained.measured_by = WITH_STAIN
    for number in range(4):
        stained.assayed(f"assay-{number}", number)
    [ranking] = stained.rank(stained.add(small("own", 9), days=(7, 10)))
    assert ranking.method == "deterioration"
    assert ranking.calibration is not None
    assert ranking.calibration.measured_by == WITH_STAIN
    assert [row.treatment for row in ranking.treatments] == list(reversed(KILLS))


def test_assay_plates_of_another_stain_bundle_are_not_used(stained: StainedSite) -> None:
    stained.measured_by = OTHER_STAIN
    for number in range(4):
        stained.assayed(f"assay-{number}", number)
    stained.measured_by = WITH_STAIN
    [ranking] = stained.rank(stained.add(small("own", 9), days=(7, 10)))
    assert ranking.method == "departure"
    assert "were not measured by classical-3+measures-1+stain-a-1" in " ".join(ranking.notes)


@pytest.mark.train
def test_a_configured_bundle_is_run_and_named_in_the_method(tmp_path: Path) -> None:
    from tests.stain_samples import write_random_stain  # noqa: PLC0415 - imports torch

    write_random_stain(tmp_path / "stain")
    (tmp_path / "with.toml").write_text('[stain]\nbundle = "stain"\n')
    (tmp_path / "without.toml").write_text("")
    config, without = (load_config(tmp_path / f"{name}.toml") for name in ("with", "without"))
    method: TissueMethod = open_tissue(config.tissue, config.stain)
    planes = np.stack([expose(0.5 * disc(0.5, 0.5, 0.2, 200))] * 3)
    found = analyse_tissue(planes, 2.0, method)
    plain = analyse_tissue(planes, 2.0, open_tissue(without.tissue, without.stain))
    assert found.measured_by == present_method(config)
    assert found.measured_by.startswith(f"{plain.measured_by}+stain-predicted-stain-")
    added = found.measures.keys() - plain.measures.keys()
    assert added
    assert all(name.startswith("predicted_") for name in added)
    assert config.digest == without.digest


def test_a_missing_bundle_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "spherorank.toml").write_text('[stain]\nbundle = "nowhere"\n')
    config = load_config(tmp_path / "spherorank.toml")
    with pytest.raises(
        ConfigError, match=r"nowhere/stain.json.*cannot be read.*expected stain.onnx"
    ):
        open_tissue(config.tissue, config.stain)
