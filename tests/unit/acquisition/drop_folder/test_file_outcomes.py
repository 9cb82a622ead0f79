"""File versions with an outcome, and the queue of results."""

import numpy as np

from acquisition.drop_folder.file_outcomes import FileOutcomes, ResultQueue
from schemas.well_image import FileVersion, Rejected, VisitKey, WellImage
from tests.robot_folder import EndedVersions

FIRST = FileVersion("P1/day07/B02_z1.tif", 100, 1)
SECOND = FileVersion("P1/day07/B02_z1.tif", 200, 2)
OTHER = FileVersion("P1/day07/B03_z1.tif", 100, 1)


def outcomes_of(*ended: FileVersion) -> FileOutcomes:
    """Return the outcomes of the files of this module, as they are read after a listing."""
    outcomes = FileOutcomes(EndedVersions(*ended))
    outcomes.read([FIRST.path, OTHER.path])
    return outcomes


def well_image(*files: FileVersion) -> WellImage:
    key, planes = VisitKey("P1", "B02", "day07"), np.zeros((1, 64, 64), np.uint16)
    return WellImage(key, 7, None, files, planes, um_per_px=None, complete=True)


def test_each_version_of_a_file_has_its_own_outcome() -> None:
    outcomes = outcomes_of(FIRST)
    assert FIRST in outcomes
    assert SECOND not in outcomes
    outcomes.add([SECOND])
    assert SECOND in outcomes


def test_a_new_version_of_a_file_is_known_by_its_path() -> None:
    outcomes = outcomes_of(FIRST)
    assert outcomes.include_a_path_of([OTHER, SECOND])
    assert not outcomes.include_a_path_of([OTHER])


def test_outcomes_are_read_once_for_each_listed_path() -> None:
    recorded = EndedVersions(FIRST)
    outcomes = FileOutcomes(recorded)
    outcomes.read([FIRST.path])
    recorded.versions = (FIRST, OTHER)
    outcomes.read([FIRST.path, OTHER.path])
    assert FIRST in outcomes
    assert OTHER in outcomes
    assert recorded.read == [FIRST.path, OTHER.path]


def test_the_outcome_of_a_file_that_is_listed_no_longer_is_read_again() -> None:
    outcomes = outcomes_of(FIRST)
    outcomes.read([])
    assert FIRST not in outcomes
    outcomes.read([FIRST.path])
    assert FIRST in outcomes


def test_a_forgotten_outcome_stays_forgotten_when_the_file_is_listed_again() -> None:
    outcomes = outcomes_of(FIRST)
    outcomes.discard([FIRST])
    outcomes.read([])
    outcomes.read([FIRST.path])
    assert FIRST not in outcomes
    assert outcomes.include_a_path_of([FIRST])
    outcomes.add([FIRST])
    outcomes.read([])
    outcomes.read([FIRST.path])
    assert FIRST in outcomes


def test_results_are_returned_in_the_order_in_which_they_were_added() -> None:
    results = ResultQueue(outcomes_of())
    image, refusal = well_image(FIRST), Rejected((OTHER,), "0 bytes", "P2", "B03")
    results.add_image(image)
    results.add_refusal(refusal)
    assert results.count_by_plate() == {"P1": 1, "P2": 1}
    assert [results.pop(), results.pop(), results.pop()] == [image, refusal, None]


def test_a_queued_result_is_the_outcome_of_its_files() -> None:
    outcomes = outcomes_of()
    results = ResultQueue(outcomes)
    results.add_image(well_image(FIRST))
    results.add_refusal(Rejected((OTHER,), "0 bytes"))
    assert FIRST in outcomes
    assert OTHER in outcomes


def test_a_refusal_names_only_the_files_without_an_outcome() -> None:
    results = ResultQueue(outcomes_of(FIRST))
    results.add_refusal(Rejected((FIRST, OTHER), "planes of two sizes", "P1", "B02"))
    assert results.pop() == Rejected((OTHER,), "planes of two sizes", "P1", "B02")
    results.add_refusal(Rejected((FIRST, OTHER), "planes of two sizes", "P1", "B02"))
    assert len(results) == 0
