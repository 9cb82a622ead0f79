"""Measure the errors of rankings on plates with a known truth, for :mod:`benchmarks.ranking`.

The parts are plates without any kill, interval coverage, weak kills, and wells that grew.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from benchmarks.observed_plates import GROWN_DAYS, WEAK_KILLS, ObservedPlate, observe_plates
from benchmarks.real_time_course import BASELINE_DAY as REAL_BASELINE_DAY
from benchmarks.real_time_course import READOUT_DAY as REAL_READOUT_DAY
from benchmarks.real_time_course import read_real_plates
from inference.ranking.plate_ranking import rank_plate
from inference.ranking.treatment_scores import score_treatments
from schemas.plate_map import Group
from schemas.ranking import Direction, TreatmentTable, Verdict
from schemas.trajectory import Representation, Trajectories
from simulation.kinds import Mechanism
from simulation.plate import DOSED_ON_DAY, READOUT_DAY

REPRESENTATIONS: tuple[Representation, ...] = ("embedding", "measures", "both")
LABELLINGS = 40  # random labellings of each plate without a kill
LAYOUTS = ((18, 3), (18, 6), (30, 2), (30, 3), (30, 6))  # untreated wells, replicates
POSITIVE_VERDICTS = (Verdict.EFFECTIVE, Verdict.GROWTH)
Array = npt.NDArray[np.float64]


def print_errors(seeds: Iterable[int], jobs: int) -> None:
    """Print interval coverage, detection of weak kills, and verdicts on growth, over seeds.

    ``jobs`` processes render the plates.
    """
    seeds = list(seeds)
    print_intervals(seeds)
    print_weak_kills(seeds, jobs)
    print_growth(seeds, jobs)


def print_no_kills(seeds: Iterable[int], jobs: int) -> None:
    """Print false-positive rates on untreated wells relabelled at random, over seeds.

    ``jobs`` processes render the plates.
    """
    seeds = list(seeds)
    print("Nothing kills: untreated wells of a plate relabelled at random")
    print(
        f"{'wells of':16} {'compared by':11} {'untreated':>9} {'a treatment':>11} {'plates':>7} "
        f"{'called':>7} {'p ≤ 0.05':>9} {'p ≤ 0.01':>9}"
    )
    for representation in REPRESENTATIONS:
        plates = [
            plate.trajectories(representation)
            for _, _, plate in observe_plates(["untreated"], seeds, jobs=jobs)
        ]
        for untreated, replicates in LAYOUTS:
            tables = [
                table
                for plate in plates
                for table in rank_relabelled(
                    plate, untreated, replicates, DOSED_ON_DAY, READOUT_DAY, LABELLINGS
                )
            ]
            print_false_positives("virtual", representation, untreated, replicates, tables)
    for untreated, replicates in ((8, 3), (9, 2)):
        enough = [
            plate
            for plate in read_real_plates()
            if plate.untreated().sum() >= untreated + 2 * replicates
        ]
        tables = [
            table
            for plate in enough
            for table in rank_relabelled(
                plate, untreated, replicates, REAL_BASELINE_DAY, REAL_READOUT_DAY, 300
            )
        ]
        if tables:
            print_false_positives("A673, untreated", "measures", untreated, replicates, tables)


def rank_relabelled(
    plate: Trajectories,
    untreated: int,
    replicates: int,
    dosing_day: int,
    readout_day: int,
    times: int,
) -> Iterator[TreatmentTable]:
    """Yield ``times`` rankings of Trajectories' untreated wells, some relabelled as treated."""
    own = np.flatnonzero(plate.untreated() & plate.has(readout_day))
    for number in range(times):
        order = np.random.default_rng(
            [number, untreated, replicates, *f"{plate.plate} {plate.representation}".encode()]
        ).permutation(own)
        treatments = (len(own) - untreated) // replicates
        chosen = order[: untreated + treatments * replicates]
        groups = [Group.UNTREATED] * untreated + [Group.SCREENING] * (len(chosen) - untreated)
        names = [""] * untreated + [
            f"drug{which}:1 uM" for which in range(treatments) for _ in range(replicates)
        ]
        yield rank_plate(
            select_relabelled(plate, chosen, groups, names),
            dosing_day=dosing_day,
            readout_day=readout_day,
            seed=number,
        )


def select_relabelled(
    plate: Trajectories, wells: npt.NDArray[np.intp], groups: list[Group], treatments: list[str]
) -> Trajectories:
    """Return the trajectories of selected wells of a plate, with other groups and treatments."""
    names = tuple(plate.wells[well] for well in wells)
    return replace(
        plate,
        wells=names,
        groups=tuple(groups),
        treatments=tuple(treatments),
        features=plate.features[wells],
    )


def print_false_positives(
    of: str, representation: str, untreated: int, replicates: int, tables: list[TreatmentTable]
) -> None:
    """Print the false-positive rates of TreatmentTables as one table row with its layout."""
    p_values = np.array([row.p_value for table in tables for row in table.treatments])
    called = np.mean(
        [any(row.verdict in POSITIVE_VERDICTS for row in table.treatments) for table in tables]
    )
    small = " ".join(f"{(p_values <= limit).mean():9.1%}" for limit in (0.05, 0.01))
    print(
        (
            f"{of:16} {representation:11} {untreated:9} {replicates:11} {len(tables):7} "
            f"{called:7.1%} {small}"
        ),
        flush=True,
    )


def print_intervals(seeds: list[int], plates: int = 400) -> None:
    """Print the coverage of score and rank intervals on simulated plates, from the first seed.

    The treatments have equal gaps.
    """
    print(
        "Intervals of 90 %, scores simulated: 14 treatments (7 of 6 wells) at even gaps, 18 "
        "untreated wells that set the scale"
    )
    print(f"{'gap':>6} {'wells':>6} {'score held':>11} {'given the scale':>16} {'rank held':>10}")
    for gap in (0.1, 0.25, 0.5):
        for replicates in (3, 6):
            held: dict[str, list[float]] = defaultdict(list)
            for number in range(plates):
                rng = np.random.default_rng([seeds[0], number, replicates, int(100 * gap)])
                truth = gap * np.arange(14 if replicates == 3 else 7)  # noqa: PLR2004 - 42 treated wells
                untreated = rng.normal(size=18)
                middle, spread = (
                    untreated.mean(),
                    np.sqrt((17 * untreated.var(ddof=1) + 20) / 37),
                )  # moderated by 20 wells of earlier plates
                scores = score_treatments(
                    [(at + rng.normal(size=replicates) - middle) / spread for at in truth], 18, rng
                )
                places, in_scale = len(truth) - np.arange(len(truth)), (truth - middle) / spread
                held["score"].append(float(((scores.low <= truth) & (truth <= scores.high)).mean()))
                held["in scale"].append(
                    float(((scores.low <= in_scale) & (in_scale <= scores.high)).mean())
                )
                held["rank"].append(
                    float(((scores.rank_low <= places) & (places <= scores.rank_high)).mean())
                )
            print(
                (
                    f"{gap:6} {replicates:6} {np.mean(held['score']):11.1%} "
                    f"{np.mean(held['in scale']):16.1%} {np.mean(held['rank']):10.1%}"
                ),
                flush=True,
            )


def print_weak_kills(seeds: list[int], jobs: int) -> None:
    """Print the detection rate of each kill, over seeds.

    There are 7 treatments of 6 wells and 18 untreated wells. ``jobs`` processes render the plates.
    """
    print(
        f"Weak kills: share of treatments with q ≤ 0.05 (6 wells each, 18 untreated, {len(seeds)} "
        "plates per mechanism)"
    )
    kills = sorted(set(WEAK_KILLS))
    print(
        f"{'plates':14} {'compared by':11} " + " ".join(f"{f'kill {kill:g}':>9}" for kill in kills)
    )
    for mechanism in Mechanism:
        for representation in REPRESENTATIONS:
            found: dict[float, list[bool]] = defaultdict(list)
            for _, _, plate in observe_plates([f"weak-{mechanism}"], seeds, jobs=jobs):
                table = rank_plate(
                    plate.trajectories(representation),
                    dosing_day=DOSED_ON_DAY,
                    readout_day=READOUT_DAY,
                    seed=1,
                )
                for row in table.treatments:
                    found[WEAK_KILLS[int(row.treatment.removeprefix("drug").split(":")[0])]].append(
                        row.verdict in POSITIVE_VERDICTS
                    )
            print(
                f"{mechanism:14} {representation:11} "
                + " ".join(f"{np.mean(found[kill]):9.0%}" for kill in kills),
                flush=True,
            )


def print_growth(seeds: list[int], jobs: int) -> None:
    """Print verdicts on wells that grew for more days, and on killing treatments, over seeds.

    The wells grew for one or two more days. ``jobs`` processes render the plates.
    """
    print(
        "Growth: untreated wells as they are a day or two after the readout, 4 treatments of 3 "
        "wells, against 18 untreated wells"
    )
    for representation in REPRESENTATIONS:
        for later in GROWN_DAYS:
            verdicts: Counter[str] = Counter()
            for _, seed, plate in observe_plates(["untreated"], seeds, jobs=jobs):
                grown = with_grown_wells(plate, representation, later, seed)
                verdicts.update(verdicts_of(grown))
            print(
                f"{representation:11} {later - READOUT_DAY} days more: "
                + ", ".join(f"{what} {count}" for what, count in verdicts.most_common()),
                flush=True,
            )
        killing: Counter[str] = Counter()
        for _, _, plate in observe_plates([*Mechanism, "mixed"], seeds, jobs=jobs):
            killing.update(verdicts_of(plate.trajectories(representation)))
        print(
            f"{representation:11} killing treatments: "
            + ", ".join(f"{what} {count}" for what, count in killing.most_common()),
            flush=True,
        )


def with_grown_wells(
    plate: ObservedPlate, representation: Representation, later: int, seed: int
) -> Trajectories:
    """Return Trajectories of 30 untreated wells, 12 of them labelled as treated and grown to a day.

    The readout image of these 12 is replaced by the image of the day ``later``: four treatments of
    three wells that cause growth.
    """
    trajectories = plate.trajectories(representation)
    order = np.random.default_rng(seed).permutation(len(plate.wells))[:30]
    features = trajectories.features.copy()
    readout, grown = plate.days.index(READOUT_DAY), plate.days.index(later)
    features[order[18:], readout] = features[order[18:], grown]
    names = [""] * 18 + [f"drug{which}:1 uM" for which in range(4) for _ in range(3)]
    return select_relabelled(
        replace(trajectories, features=features),
        order,
        [Group.UNTREATED] * 18 + [Group.SCREENING] * 12,
        names,
    )


def verdicts_of(trajectories: Trajectories) -> list[str]:
    """Return the verdict of each treatment of a plate; ``undecided`` without a direction."""
    table = rank_plate(trajectories, dosing_day=DOSED_ON_DAY, readout_day=READOUT_DAY, seed=1)
    return [
        "undecided" if row.direction is Direction.UNDECIDED else row.verdict.value
        for row in table.treatments
    ]
