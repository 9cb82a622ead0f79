from collections import Counter
from itertools import pairwise

import pytest

from schemas.plate_map import Group, parse_plate_map
from schemas.treatment import parse_treatment
from schemas.well import INNER_60
from simulation.kinds import Layout, Mechanism
from simulation.plate import (
    CULTURE_DAYS,
    DOSED_ON_DAY,
    READOUT_DAY,
    Compound,
    plan_plate,
)
from tests.samples import wells_table


@pytest.mark.parametrize("layout", Layout)
def test_the_plate_map_files_contain_the_plan(layout: Layout) -> None:
    plate = plan_plate(4, layout=layout)

    plate_map = parse_plate_map(
        plate.plate_map_toml(2.72461),
        wells_table(plate.plate_map_csv()),
        toml_name="a.plate.toml",
    )

    assert [(entry.well, entry.group, entry.treatment) for entry in plate_map.entries] == [
        (w.well, w.group, w.treatment) for w in plate.wells
    ]
    assert {entry.well for entry in plate_map.entries} == set(INNER_60)
    assert plate_map.dosed_at == plate.dosed_at
    assert plate_map.um_per_px == 2.72461


@pytest.mark.parametrize(
    ("layout", "groups", "screened"),
    [
        (Layout.SCREEN, {Group.UNTREATED: 18, Group.SINGLE_DOSE: 6, Group.SCREENING: 36}, 12),
        (Layout.HALF, {Group.UNTREATED: 30, Group.SINGLE_DOSE: 3, Group.SCREENING: 27}, 9),
    ],
)
def test_each_layout_has_its_number_of_wells_per_group(
    layout: Layout, groups: dict[Group, int], screened: int
) -> None:
    for seed in range(10):
        wells = plan_plate(seed, layout=layout).wells

        assert Counter(well.group for well in wells) == groups
        treatments = Counter(well.treatment for well in wells if well.group is Group.SCREENING)
        assert len(treatments) == screened
        assert set(treatments.values()) == {3}


def test_a_divided_plate_has_one_combination_in_the_half_without_untreated_wells() -> None:
    left = set()
    for seed in range(12):
        plate = plan_plate(seed, layout=Layout.DIVIDED)
        untreated, treated = (
            [well for well in plate.wells if (well.group is Group.UNTREATED) is wanted]
            for wanted in (True, False)
        )
        assert len(untreated) == len(treated) == 30
        (combination,) = {well.treatment for well in treated}
        assert len(parse_treatment(combination).doses) == 2
        columns = [{well.column for well in half} for half in (untreated, treated)]
        assert columns[0] in ({2, 3, 4, 5, 6}, {7, 8, 9, 10, 11})
        assert columns[0].isdisjoint(columns[1])
        left.add(2 in columns[0])
        kills = [well.readout_kill for well in treated]
        assert max(kills) - min(kills) > 0.02
        assert 0.1 < sum(kills) / 30 < 0.95
        by_place = {(well.row, well.column): plate.place_factor(well) for well in plate.wells}
        across = by_place[4, 10] / by_place[4, 3]
        assert across == pytest.approx(by_place[5, 10] / by_place[5, 3])
        assert across != 1
    assert left == {True, False}
    assert plan_plate(1).place_factor(plan_plate(1).wells[0]) == 1


def test_untreated_wells_are_in_every_row_and_in_other_columns_on_each_plate() -> None:
    columns = set()
    for seed in range(5):
        untreated = [well for well in plan_plate(seed).wells if well.group is Group.UNTREATED]
        assert Counter(well.row for well in untreated) == dict.fromkeys(range(2, 8), 3)
        columns.add(tuple(well.column for well in untreated))

    assert len(columns) == 5


def test_images_of_the_dosing_day_are_taken_before_the_dose() -> None:
    plate = plan_plate(0)

    assert max(plate.taken_at(well, DOSED_ON_DAY) for well in plate.wells) < plate.dosed_at
    assert {
        plate.taken_at(plate.wells[-1], day).date().day - plate.seeded_at.date().day + 1
        for day in CULTURE_DAYS
    } == set(CULTURE_DAYS)


@pytest.mark.parametrize("mechanism", [None, *Mechanism])
def test_the_kill_starts_after_dosing_and_increases_every_day(mechanism: Mechanism | None) -> None:
    for well in plan_plate(2, mechanism=mechanism).wells:
        kills = [well.kill(day) for day in CULTURE_DAYS]
        assert kills[:DOSED_ON_DAY] == [0.0] * DOSED_ON_DAY
        if well.group is Group.UNTREATED:
            assert kills[-1] == 0.0
        else:
            assert 0 < kills[7] < kills[8] < kills[9] < 1


def test_a_higher_concentration_has_a_higher_kill() -> None:
    compound = Compound(
        "x",
        "nM",
        ec50=20.0,
        hill=1.3,
        emax=0.95,
        mechanism=Mechanism.SHRINKING,
        rate_per_day=0.5,
        darkens=False,
    )

    kills = [compound.kill(amount) for amount in (0.1, 1, 10, 20, 100, 1000)]

    assert kills == sorted(kills)
    assert compound.kill(20.0) == pytest.approx(0.95 / 2)
    assert compound.kill(compound.dose_for_kill(0.7).amount) == pytest.approx(0.7, abs=0.02)


def test_the_higher_dose_of_a_compound_has_the_higher_mean_kill_on_every_plate() -> None:
    for seed in range(10):
        mean_kill: dict[str, list[tuple[float, float]]] = {}
        wells = [well for well in plan_plate(seed).wells if well.group is Group.SCREENING]
        for treatment in {well.treatment for well in wells}:
            doses = parse_treatment(treatment).doses
            if len(doses) == 1:
                kills = [well.kill(READOUT_DAY) for well in wells if well.treatment == treatment]
                mean_kill.setdefault(doses[0].compound, []).append(
                    (doses[0].amount, sum(kills) / 3)
                )
        assert len(mean_kill) == 5
        for low, high in map(sorted, mean_kill.values()):
            assert low[0] < high[0]
            # Means of neighbouring doses may overlap by the variation between replicate wells.
            assert high[1] > low[1] - 0.03


def test_the_treatments_of_a_plate_cover_the_range_of_kills() -> None:
    for mechanism in (Mechanism.SHRINKING, Mechanism.GROWTH_ARREST):
        plate = plan_plate(1, mechanism=mechanism)
        arrest = mechanism is Mechanism.GROWTH_ARREST
        largest = plate.growth.arrest_emax if arrest else 1.0
        kills = sorted(well.kill(READOUT_DAY) for well in plate.wells if well.mechanism)
        assert kills[0] < 0.1
        assert 0.85 * largest < kills[-1] <= largest
        assert max(later - earlier for earlier, later in pairwise(kills)) < 0.2


def test_only_bursting_tissue_explodes() -> None:
    exploded = {
        mechanism: sum(
            well.exploded(READOUT_DAY) for well in plan_plate(3, mechanism=mechanism).wells
        )
        for mechanism in Mechanism
    }

    assert exploded.pop(Mechanism.BURSTING) > 10
    assert set(exploded.values()) == {0}


def test_the_assay_gives_the_viability_with_noise() -> None:
    plate = plan_plate(6)
    rows = [line.split(",") for line in plate.assay_csv().splitlines()]

    assert rows[0] == ["well", "viability_percent"]
    errors = [
        float(row[1]) - 100 * (1 - well.kill(READOUT_DAY))
        for row, well in zip(rows[1:], plate.wells, strict=True)
    ]
    assert 0 < max(map(abs, errors)) < 25


def test_a_plate_depends_only_on_seed_and_index() -> None:
    assert plan_plate(5, 2) == plan_plate(5, 2)
    assert plan_plate(5, 2).wells != plan_plate(5, 1).wells
    assert plan_plate(5, 2).wells != plan_plate(6, 2).wells
    assert plan_plate(5, 2).name != plan_plate(5, 1).name
