"""Use of earlier plates in a ranking, on a real store with simulated observations.

One test runs the real service.
"""

import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from daemon.rolling_view import RollingView
from inference.departure.assembly import feature_names
from inference.departure.departure_settings import DepartureSettings
from inference.departure.reduced_space import MAX_OTHER_PLATES
from schemas.forecast import ForecastFrom, MetricName
from schemas.messages import AlertKind
from schemas.ranking import Gate
from schemas.trajectory import Representation, Trajectories
from tests.made_up_site import UNTREATED, Site, small
from tests.samples import observation_data
from tests.service_process import PLATE, ServiceProcess


def test_earlier_plates_of_the_cell_line_are_used_and_named_newest_first(site: Site) -> None:
    for name, day in (("first", 0), ("third", 2), ("second", 1), ("later", 9), ("same-hour", 5)):
        site.add(small(name, day), wells=UNTREATED)
    site.add(small("other-line", 1, line="A673"), wells=UNTREATED)
    site.add(small("other-dosing", 1, dosed_on_day=6), wells=UNTREATED)
    site.add(small("not-read-out", 1), days=(6, 7), wells=UNTREATED)
    site.add(small("never-before", 1), days=(10,), wells=UNTREATED)
    own = site.add(small("own", 5))
    [ranking] = site.rank(own)
    assert ranking.earlier_plates == ("third", "second", "first")
    assert len(ranking.earlier_digest) == 64
    assert (
        "Untreated wells of 3 other plates were used "
        "to estimate variation and growth of untreated wells." in ranking.notes
    )


def test_without_an_earlier_plate_a_ranking_names_none(site: Site) -> None:
    [ranking] = site.rank(site.add(small("own")))
    assert (ranking.earlier_plates, ranking.earlier_digest) == ((), "")


def test_only_the_newest_earlier_plates_are_used_up_to_the_limit(site: Site) -> None:
    for number in range(MAX_OTHER_PLATES + 2):
        site.add(small(f"p{number:02d}", number), days=(7, 10), wells=3)
    [ranking] = site.rank(site.add(small("own", 50)))
    assert ranking.earlier_plates == tuple(
        f"p{number:02d}" for number in range(MAX_OTHER_PLATES + 1, 1, -1)
    )


@pytest.mark.parametrize("representation", ["measures", "embedding", "both"])
def test_earlier_plates_without_the_representation_of_the_ranked_plate_are_skipped(
    site: Site, representation: Representation
) -> None:
    site.settings = replace(site.settings, representation=representation)
    site.restart()
    measured, unmeasured = (
        site.add(small("measured")),
        site.add(small("unmeasured", 1), measured=False),
    )
    [ranking] = site.rank(site.add(small("own", 2)))
    assert ranking.earlier_plates == (
        (unmeasured.plate, measured.plate) if representation == "embedding" else (measured.plate,)
    )
    [fallen_back] = site.rank(site.add(small("own-unmeasured", 3), measured=False))
    assert fallen_back.representation == "embedding"
    assert fallen_back.earlier_plates == ("own", "unmeasured", "measured")


def test_a_plate_with_too_few_untreated_wells_of_both_days_is_skipped(site: Site) -> None:
    few = site.add(small("few"), days=(10,))
    for entry in few.entries[:2]:
        site.image(few, entry.well, 7)
    own = site.add(small("own", 2))
    assert site.rank(own)[0].earlier_plates == ()
    site.image(few, few.entries[2].well, 7)
    assert (again := site.again(own)) is not None
    assert again.earlier_plates == ("few",)


def test_new_images_of_earlier_plates_and_new_plates_cause_no_new_ranking(
    site: Site,
) -> None:
    first, second = site.add(small("first")), site.add(small("second", 1))
    [of_first], [of_second] = site.rank(first), site.rank(second)
    assert of_second.earlier_plates == ("first",)
    site.add(small("third", 2))
    site.image(first, first.entries[0].well, 10, seed=1)
    site.now += timedelta(hours=1)
    assert [(each.plate, each.revision) for each in site.rank(first)] == [
        ("first", 2)
    ]  # its own image
    assert site.rank(second) == []
    site.restart()
    assert site.rank(second) == []
    again = site.again(second)
    assert again is not None
    assert (again.revision, again.inputs_digest) == (2, of_second.inputs_digest)
    assert again.earlier_digest != of_second.earlier_digest
    assert site.again(second) is None
    assert of_first.earlier_digest == ""


def test_a_treated_well_of_an_earlier_plate_does_not_affect_another_plate(site: Site) -> None:
    first, second = site.add(small("first")), site.add(small("second", 1))
    site.rank(second)
    site.image(first, first.entries[-1].well, 10, seed=1)
    site.image(first, first.entries[0].well, 6, seed=1)  # not the last day up to dosing
    assert site.again(second) is None


def test_a_forecast_from_the_last_day_uses_no_earlier_plates_and_all_days_of_its_own(
    site: Site,
) -> None:
    site.add(small("first"))
    own = site.add(small("second", 1), days=(6, 7, 8, 9, 10))
    site.restart(DepartureSettings(forecast_from=ForecastFrom.LAST_DAY))
    rankings = {each.day: each for each in site.rank(own)}
    assert rankings[10].earlier_plates == ()
    assert any(
        "forecast_from = last_day" in note and "follows the drug" in note
        for note in rankings[10].notes
    )
    site.image(own, own.entries[-1].well, 9, seed=1)
    site.now += timedelta(hours=1)
    assert [(each.day, each.revision) for each in site.rank(own)] == [(9, 2), (10, 2)]


def test_the_rolling_view_has_the_scores_of_a_ranking_without_earlier_plates(
    site: Site,
) -> None:
    settings = DepartureSettings("kernel", ForecastFrom.LAST_DAY, MetricName.L2)
    own = site.add(small("own"), days=(6, 7, 9, 10))
    well = own.entries[-1].well
    newest = site.look(own, well, 10, seed=1)
    [alone] = RollingView(site.store, "measures", 1.0, settings).departures([newest], own)
    site.store.add_observation(newest, observation_data(newest, 2))
    site.restart(replace(settings, leave_out_outliers=False))
    scores = {
        ranking.day: next(row.score for row in ranking.wells if row.well == well)
        for ranking in site.rank(own)
    }
    assert {each.day: each.departure for each in alone} == pytest.approx(scores)
    before = RollingView(site.store, "measures", 1.0, DepartureSettings()).departures(
        [site.look(own, well, 10, seed=2)], own
    )
    site.add(small("earlier", -3))
    assert (
        RollingView(site.store, "measures", 1.0, DepartureSettings()).departures(
            [site.look(own, well, 10, seed=2)], own
        )
        == before
    )


def test_the_departures_of_images_stored_together_are_those_after_all_of_them(site: Site) -> None:
    own = site.add(small("own"), days=(6, 7, 9))
    wells = [entry.well for entry in own.entries]
    newest = [site.look(own, well, 10, seed=1) for well in wells]
    view = RollingView(site.store, "measures", 1.0, DepartureSettings())
    together = view.departures(newest, own)
    for each in newest[:-1]:
        site.store.add_observation(each, observation_data(each))
    alone = RollingView(site.store, "measures", 1.0, DepartureSettings())
    [last] = alone.departures(newest[-1:], own)
    assert together[-1] == last
    assert [each.day for each in last] == [9, 10]


def test_a_forecast_from_dosing_does_not_depend_on_days_after_dosing(site: Site) -> None:
    own = site.add(small("own"), days=(6, 7, 8, 9, 10))
    assert len(site.rank(own)) == 3
    site.image(own, own.entries[-1].well, 9, seed=1)
    site.now += timedelta(hours=1)
    assert [(each.day, each.revision) for each in site.rank(own)] == [(9, 2)]


class MeanSequenceModel:
    """A sequence model that predicts the mean of all days, and records its input days."""

    name = "mean-1"
    days = (6, 7)

    def __init__(self) -> None:
        self.inputs: set[tuple[str, tuple[int, ...]]] = set()

    def check_fits(self, names: tuple[str, ...], encoder_id: str) -> None:
        assert tuple(names) == feature_names("measures", 0)
        assert encoder_id == ""

    def predict(self, trajectories: Trajectories, before: tuple[int, ...], day: int) -> np.ndarray:
        assert day == 10
        self.inputs.add((trajectories.plate, tuple(before)))
        return np.asarray(np.mean([trajectories.on(each) for each in before], axis=0))


def test_a_sequence_model_receives_all_days_up_to_dosing_of_earlier_plates(site: Site) -> None:
    site.add(small("first"))
    site.add(small("second", 1), days=(7, 10))  # lacks day 6, which the model needs
    own = site.add(small("own", 2), days=(5, 6, 7, 10))
    model = MeanSequenceModel()
    site.restart(DepartureSettings(sequence_model=model))
    [ranking] = site.rank(own)
    assert ranking.earlier_plates == ("first",)
    assert model.inputs == {("own", (5, 6, 7)), ("first", (6, 7))}
    assert any("mean-1" in note for note in ranking.notes)


def test_untreated_wells_in_one_block_raise_one_alert(site: Site) -> None:
    own = site.add(small("own", one_block=True), days=(6, 7, 8, 9))
    assert all(each.quality.untreated_in_one_block for each in site.rank(own))
    site.restart()
    site.add(own, days=(10,))
    [ranking] = site.rank(own)
    assert ranking.final
    [alert] = site.alerts(AlertKind.LAYOUT)
    assert "plate own: All untreated wells are in one block" in alert
    scattered = site.add(small("scattered", 1))
    site.rank(scattered)
    assert len(site.alerts(AlertKind.LAYOUT)) == 1


def test_a_plate_that_fails_its_gate_is_published_as_final_with_an_alert(site: Site) -> None:
    own = small("own")
    site.add(own, days=(6, 7))
    site.store.save_plate_map(own, site.now)
    for entry in own.entries[: UNTREATED // 2 - 1] + own.entries[UNTREATED:]:
        site.image(own, entry.well, 10)
    [ranking] = site.rank(own)
    assert (ranking.final, ranking.quality.gate) == (True, Gate.FAILED)
    assert "only 3 of 8 untreated wells could be scored" in ranking.quality.reasons[0]
    [alert] = site.alerts(AlertKind.QUALITY_GATE)
    assert "day10-r1 fails its quality gate" in alert
    assert '"final":true' in [
        message.body for message in site.store.messages_after(0, "spherorank.v1.ranking")
    ][-1].replace(" ", "")


def test_a_provisional_ranking_that_fails_its_gate_still_becomes_final(site: Site) -> None:
    own = site.add(small("own"), days=(6, 7))
    for entry in own.entries[: UNTREATED // 2 - 1] + own.entries[UNTREATED:]:
        site.image(own, entry.well, 10)
    [provisional] = site.days.run_due("own", is_waiting=False, all_is_in=True)
    assert (provisional.final, provisional.quality.gate) == (False, Gate.FAILED)
    [final] = site.rank(own)
    assert (final.final, final.revision, final.quality.gate) == (True, 2, Gate.FAILED)


def add_copy(service: ServiceProcess, plate: str, days_later: int) -> None:
    """Add a copy of the small plate to the drop folder, under another name and seeded later.

    The copy has only the untreated and single-dose wells.
    """
    folder = service.drop / plate
    header, *rows = (service.drop / PLATE / f"{PLATE}.wells.csv").read_text().splitlines()
    kept = [row for row in rows if ",screening," not in row]
    for path in (
        path
        for row in kept
        for path in (service.drop / PLATE).glob(f"day*/{row.split(',')[0]}_z*.tif")
    ):
        (folder / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / path.parent.name)
    (folder / f"{plate}.wells.csv").write_text("\n".join([header, *kept]) + "\n")
    with service.store() as store:
        first = store.plate_map(PLATE)
    assert first is not None
    seeded_at = first.seeded_at + timedelta(days=days_later)
    (folder / f"{plate}.plate.toml").write_text(
        f'plate = "{plate}"\nseeded_at = {seeded_at.isoformat()}\num_per_px = {first.um_per_px}\n'
    )


@pytest.mark.slow
def test_the_service_uses_an_earlier_plate_and_a_restart_makes_no_new_ranking(
    ranked_copy: ServiceProcess,
) -> None:
    service = ranked_copy
    add_copy(service, "VIRTUAL-0005-02", 3)
    done = service.run_once()
    assert done.returncode == 0, done.stderr
    before = {plate: service.rankings(plate) for plate in (PLATE, "VIRTUAL-0005-02")}
    assert {each.earlier_plates for each in before[PLATE]} == {()}
    assert [
        (each.day, each.revision, each.earlier_plates) for each in before["VIRTUAL-0005-02"]
    ] == [(8, 1, (PLATE,)), (10, 1, (PLATE,))]
    assert service.run_once().returncode == 0
    assert {plate: service.rankings(plate) for plate in before} == before
    asked = service.ask("rank", "plate", "VIRTUAL-0005-02")
    assert asked.returncode == 0, asked.stderr
    assert {plate: service.rankings(plate) for plate in before} == before
