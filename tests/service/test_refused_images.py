"""Images that the segmenter refuses: their wells are neither dead nor unharmed tissue."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import tifffile

from daemon.config import load_config
from daemon.image_queue import ImageQueue
from daemon.tissue_analysis import TissueMethod
from daemon.wiring.service import open_service
from inference.ports import Segmenter
from inference.ranking.image_notes import BY_EMBEDDING, LEFT_OUT
from inference.tissue.classical_segmenter import SEGMENTER_ID, ClassicalSegmenter
from schemas.messages import AlertKind
from schemas.plate_map import Group, PlateMap
from schemas.ranking import Gate, Ranking, WellRank
from schemas.tissue import Segmentation, Unsure
from schemas.trajectory import Representation
from tests.made_up_site import Site, small
from tests.samples import observation_data
from tests.service_process import PLATE, WELLS, ServiceProcess

REASON = "image of day {} refused: no background in view"


@dataclass(frozen=True)
class RefusingSegmenter:
    """A segmenter that refuses images whose first rows are black, and segments all others."""

    others: Segmenter = field(default_factory=ClassicalSegmenter)

    segmenter_id: ClassVar[str] = SEGMENTER_ID  # the service would measure again by another one

    def segment(self, plane: npt.NDArray[np.uint16], um_per_px: float | None) -> Segmentation:
        if plane[:2].any():
            return self.others.segment(plane, um_per_px)
        empty = np.zeros(plane.shape, bool)
        return Segmentation(empty, empty, np.ones((4, 4), np.float32), (Unsure.NO_BACKGROUND,))


def blacken(service: ServiceProcess, well: str, day: int) -> None:
    """Make the first rows of all planes of a well image black."""
    for path in (service.drop / PLATE / f"day{day:02d}").glob(f"{well}_z*.tif"):
        planes = tifffile.imread(path)
        planes[:2] = 0
        tifffile.imwrite(path, planes)


def run_once(service: ServiceProcess) -> Ranking:
    """Run the service with the refusing segmenter in this process; return its last ranking."""
    config = load_config(service.config)
    with open_service(config, file=service.config, once=True) as running:
        refusing = TissueMethod(RefusingSegmenter())
        running.images = replace(running.images, tissue=refusing)
        running.queue = ImageQueue(
            running.source, running.images.analyse, 2, running.processing_limit
        )
        running.run(once=True)
    return service.rankings()[-1]


def row_of(ranking: Ranking, well: str) -> WellRank:
    [row] = [row for row in ranking.wells if row.well == well]
    return row


def a_treated_well(service: ServiceProcess) -> str:
    wells = pd.read_csv(service.drop / PLATE / f"{PLATE}.wells.csv", keep_default_na=False)
    return str(wells.well[wells.group == "screening"].iloc[0])


@pytest.mark.slow
def test_a_refused_readout_leaves_its_well_out_and_ranks_the_others_as_if_it_was_missing(
    service: ServiceProcess,
) -> None:
    service.configure(ranking='representation = "measures"')
    well = a_treated_well(service)
    blacken(service, well, 10)
    ranking = run_once(service)
    row = row_of(ranking, well)
    assert ranking.final
    assert (row.score, row.efficacy_rank, row.condition, row.measures) == (None, None, None, {})
    assert row.unsure == (Unsure.NO_BACKGROUND,)
    assert {each.well: each.reason for each in ranking.quality.left_out} == {
        well: REASON.format(10)
    }
    assert ranking.quality.missing_images == ()
    assert ranking.representation == "measures"
    assert [note for note in ranking.notes if f"1 well ({well})" in note and LEFT_OUT in note]
    assert all(well not in each.wells for each in ranking.treatments)
    assert sum(each.score is not None for each in ranking.wells) == WELLS - 1

    with service.store() as store:
        bodies = [
            each.body for each in store.messages_after(0, f"spherorank.v1.observation.{PLATE}")
        ]
        alerts = [each.body for each in store.messages_after(0, "spherorank.v1.alert")]
    sent = [json.loads(body)["data"] for body in bodies]
    [of_well] = [each for each in sent if (each["well"], each["day"]) == (well, 10)]
    assert (of_well["unsure"], of_well["measures"]) == (["no_background"], {})
    assert (of_well["condition"], of_well["explosion_degree"]) == (None, None)
    assert of_well["departures"][-1] == {"day": 10, "departure": None}
    assert [text for text in alerts if f"is final without 1 well ({well})" in text]

    folder = service.folder / "rankings" / PLATE
    table = pd.read_csv(folder / "day10-r1-wells.csv").set_index("well")
    assert table.unsure[well] == "no_background"
    assert np.isnan(table.area_um2[well])
    assert table.area_um2.notna().sum() == WELLS - 1
    page = (folder / "day10-r1.html").read_text()
    assert "outline in doubt: no background in view: image refused" in page
    assert f"left out: {REASON.format(10)}" in page

    for path in (service.drop / PLATE / "day10").glob(f"{well}_z*.tif"):
        path.unlink()
    for path in service.folder.glob("spherorank.sqlite*"):
        path.unlink()
    missing = run_once(service)
    assert missing.quality.missing_images == (well,)
    scores = {each.well: each.score for each in missing.wells}
    assert {each.well: each.score for each in ranking.wells} == scores


def refuse(site: Site, plate: PlateMap, well: str, *days: int) -> None:
    """Store images of a well that were refused; they replace its images of these days."""
    for day in days:
        seen = replace(
            site.look(plate, well, day, seed=9), measures={}, unsure=(Unsure.NO_BACKGROUND,)
        )
        site.store.add_observation(seen, observation_data(seen, site.store.next_version(seen.key)))


def left_out(ranking: Ranking) -> dict[str, str]:
    return {each.well: each.reason for each in ranking.quality.left_out}


def treated(plate: PlateMap) -> str:
    return next(entry.well for entry in plate.entries if entry.group is Group.SCREENING)


@pytest.mark.parametrize("representation", ["measures", "both"])
def test_one_refused_image_does_not_change_what_the_other_wells_are_compared_by(
    site: Site, representation: Representation
) -> None:
    site.settings = replace(site.settings, representation=representation)
    site.restart()
    plate = site.add(small("P"))
    well = treated(plate)
    refuse(site, plate, well, 10)
    [ranking] = site.rank(plate)
    assert ranking.representation == representation
    assert left_out(ranking) == {well: REASON.format(10)}
    assert row_of(ranking, well).score is None
    assert len([row for row in ranking.wells if row.score is not None]) == len(plate.entries) - 1


def test_a_ranking_by_embedding_keeps_the_well_and_a_note_says_so(site: Site) -> None:
    site.settings = replace(site.settings, representation="embedding")
    site.restart()
    plate = site.add(small("P"))
    well = treated(plate)
    refuse(site, plate, well, 10)
    [ranking] = site.rank(plate)
    row = row_of(ranking, well)
    assert row.score is not None
    assert (row.condition, row.measures, row.unsure) == (None, {}, (Unsure.NO_BACKGROUND,))
    assert left_out(ranking) == {}
    assert [note for note in ranking.notes if BY_EMBEDDING in note and well in note]
    assert site.alerts(AlertKind.IMAGES_MISSING) == []


def test_a_treatment_without_any_measured_well_is_not_ranked(site: Site) -> None:
    plate = site.add(small("P"))
    wells = [entry.well for entry in plate.entries if entry.treatment == "drug0:1 uM"]
    for well in wells:
        refuse(site, plate, well, 10)
    [ranking] = site.rank(plate)
    assert "drug0:1 uM" not in {each.treatment for each in ranking.treatments}
    assert set(left_out(ranking)) == set(wells)
    assert [note for note in ranking.notes if note.startswith("drug0:1 uM (screening) is not rank")]


@pytest.mark.parametrize(
    ("days", "reason"),
    [((6, 7), REASON.format(7)), ((7,), None), ((6,), None), ((6, 10), REASON.format(10))],
)
def test_a_well_needs_one_measured_image_from_before_dosing(
    site: Site, days: Sequence[int], reason: str | None
) -> None:
    plate = site.add(small("P"))
    well = treated(plate)
    refuse(site, plate, well, *days)
    [ranking] = site.rank(plate)
    assert left_out(ranking) == ({well: reason} if reason else {})
    assert (row_of(ranking, well).score is None) == (reason is not None)


def test_a_plate_whose_readout_is_refused_ends_without_a_readout_and_the_reason(
    site: Site,
) -> None:
    plate = small("P")
    site.now = plate.seeded_at + timedelta(days=9)
    site.add(plate)
    for well in plate.wells_with_tissue:
        refuse(site, plate, well, 10)
    site.now = plate.seeded_at + timedelta(days=11)
    [ranking] = site.rank(plate)
    assert (ranking.quality.gate, ranking.treatments) == (Gate.NO_READOUT, ())
    assert REASON.format(10) in ranking.quality.reasons[0]
    assert ranking.quality.missing_images == ()
    assert left_out(ranking) == dict.fromkeys(plate.wells_with_tissue, REASON.format(10))
    assert {row.unsure for row in ranking.wells} == {(Unsure.NO_BACKGROUND,)}
    [alert] = site.alerts(AlertKind.QUALITY_GATE)
    assert REASON.format(10) in alert


def test_refused_images_of_an_earlier_plate_do_not_take_its_other_wells_out(site: Site) -> None:
    first = site.add(small("first", 0))
    refuse(site, first, first.entries[0].well, 10)
    [ranking] = site.rank(site.add(small("own", 2)))
    assert ranking.earlier_plates == ("first",)
