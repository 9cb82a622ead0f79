"""Measure how often the label audit finds wrong labels and doubts right ones, on virtual plates.

    python -m benchmarks.label_audit --seeds 10 --first-seed 201
    python -m benchmarks.label_audit --seeds 10 --first-seed 201 --kinds mixed untreated

Errors are planted one at a time. Each well of a treatment with three replicates and a kill of 0.5
or more exchanges its label with a random untreated well. Each such well is also labelled untreated
(a slip). The whole plate is also turned. The kind ``untreated`` has only untreated wells, labelled
at random.
"""

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace

import numpy as np
import numpy.typing as npt

from benchmarks.observed_plates import SCREENS, ObservedPlate, observe_plates
from inference.departure.departures import residuals_of_scorable_wells
from inference.ranking.label_audit import ACCEPTED_PROBABILITY, REPORTED_PROBABILITY, audit_labels
from schemas.plate_map import Group
from schemas.ranking import LabelDoubt
from schemas.trajectory import Representation, Trajectories
from simulation.plate import DOSED_ON_DAY, READOUT_DAY

REPRESENTATIONS: tuple[Representation, ...] = ("embedding", "measures", "both")
MIN_KILL = 0.5
REPLICATES = 3
CONTROLS = 18
WHOLE_PLATE = 3  # a doubt of so many wells or more concerns the whole plate


@dataclass
class AuditCounts:
    """The counts of planted label errors and of correct and false doubts of one representation."""

    exchanges: int = 0
    one_named: int = 0  # exchanges of which one well is in an accepted doubt
    both_named: int = 0  # exchanges of which both wells are, in one doubt or two
    slips: int = 0
    slips_found: int = 0
    wells: int = 0
    false_accepted: int = 0
    false_reported: int = 0
    plates: int = 0
    false_turned: int = 0
    turned: int = 0
    turned_found: int = 0
    seconds: list[float] = field(default_factory=list)

    def add(self, other: "AuditCounts") -> None:
        """Add the counts of other plates to these counts."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def doubts(self, trajectories: Trajectories) -> tuple[LabelDoubt, ...]:
        """Return the label doubts of a plate, and record the time of the audit."""
        residuals, used, _ = residuals_of_scorable_wells(
            trajectories, dosing_day=DOSED_ON_DAY, day=READOUT_DAY
        )
        wells = np.flatnonzero(used).tolist()
        names = [trajectories.wells[well] for well in wells]
        groups = [trajectories.groups[well] for well in wells]
        treatments = [trajectories.treatments[well] for well in wells]
        started = time.perf_counter()
        doubts = audit_labels(residuals, names, groups, treatments)
        self.seconds.append(time.perf_counter() - started)
        return doubts

    def audit_correct_labels(self, trajectories: Trajectories) -> None:
        """Audit a plate with correct labels and count the false doubts."""
        doubts = self.doubts(trajectories)
        self.plates += 1
        self.wells += len(trajectories.wells)
        self.false_turned += any(len(doubt.wells) >= WHOLE_PLATE for doubt in doubts)
        of_wells = [doubt for doubt in doubts if len(doubt.wells) < WHOLE_PLATE]
        self.false_accepted += len(
            {
                well
                for doubt in of_wells
                if doubt.probability >= ACCEPTED_PROBABILITY
                for well in doubt.wells
            }
        )
        self.false_reported += len(
            {
                well
                for doubt in of_wells
                if doubt.probability >= REPORTED_PROBABILITY
                for well in doubt.wells
            }
        )

    def audit_exchange(self, trajectories: Trajectories, one: int, other: int) -> None:
        """Exchange the labels of two wells, audit the plate and count whether this is found."""
        order = np.arange(len(trajectories.wells))
        order[[one, other]] = order[[other, one]]
        pair = {trajectories.wells[one], trajectories.wells[other]}
        doubts = [
            doubt
            for doubt in self.doubts(permute_labels(trajectories, order))
            if doubt.probability >= ACCEPTED_PROBABILITY
        ]
        named = {well for doubt in doubts for well in doubt.wells}
        self.exchanges += 1
        self.one_named += bool(named & pair)
        self.both_named += pair <= named

    def audit_untreated_label(self, trajectories: Trajectories, well: int) -> None:
        """Label a treated well as untreated, audit the plate and count whether this is found."""
        groups, treatments = list(trajectories.groups), list(trajectories.treatments)
        groups[well], treatments[well] = Group.UNTREATED, ""
        doubts = self.doubts(
            replace(trajectories, groups=tuple(groups), treatments=tuple(treatments))
        )
        self.slips += 1
        self.slips_found += any(
            trajectories.wells[well] in doubt.wells and doubt.probability >= ACCEPTED_PROBABILITY
            for doubt in doubts
        )

    def audit_turned_plate(self, trajectories: Trajectories) -> None:
        """Turn the labels of the plate by 180°, audit it and count whether the turn is found."""
        doubts = self.doubts(permute_labels(trajectories, np.arange(len(trajectories.wells))[::-1]))
        self.turned += 1
        self.turned_found += any(doubt.seems.startswith("turned") for doubt in doubts)


def permute_labels(trajectories: Trajectories, order: npt.NDArray[np.intp]) -> Trajectories:
    """Return the trajectories with permuted labels: well i gets the label of well ``order[i]``."""
    groups, treatments = (
        tuple(values[well] for well in order)
        for values in (trajectories.groups, trajectories.treatments)
    )
    return replace(trajectories, groups=groups, treatments=treatments)


def label_at_random(trajectories: Trajectories, rng: np.random.Generator) -> Trajectories:
    """Return an untreated plate with random labels: 18 untreated wells and three per treatment."""
    n = len(trajectories.wells)
    groups = (Group.UNTREATED,) * CONTROLS + (Group.SCREENING,) * (n - CONTROLS)
    treatments = ("",) * CONTROLS + tuple(
        f"drug{well // REPLICATES}:1 uM" for well in range(n - CONTROLS)
    )
    return permute_labels(
        replace(trajectories, groups=groups, treatments=treatments), rng.permutation(n)
    )


def strongly_killed_wells(plate: ObservedPlate) -> Iterator[int]:
    """Yield the index of each well with a kill of at least 0.5 and two other replicate wells."""
    count = Counter(plate.treatments)
    for well, (group, treatment, kill) in enumerate(
        zip(plate.groups, plate.treatments, plate.kill, strict=True)
    ):
        if group is Group.SCREENING and count[treatment] == REPLICATES and kill >= MIN_KILL:
            yield well


def audit_plate(
    kind: str,
    plate: ObservedPlate,
    representation: Representation,
    counts: AuditCounts,
    rng: np.random.Generator,
) -> None:
    """Audit a plate of a kind, without an error and with planted errors; add to the counts."""
    trajectories = plate.trajectories(representation)
    if kind == "untreated":
        counts.audit_correct_labels(label_at_random(trajectories, rng))
        return
    counts.audit_correct_labels(trajectories)
    counts.audit_turned_plate(trajectories)
    untreated = np.flatnonzero(trajectories.untreated())
    for well in strongly_killed_wells(plate):
        counts.audit_exchange(trajectories, well, int(rng.choice(untreated)))
        counts.audit_untreated_label(trajectories, well)


def print_audit_row(kind: str, representation: Representation, counts: AuditCounts) -> None:
    """Print the rates of one kind of plate and representation as one table row."""
    shares = [
        (counts.one_named, counts.exchanges),
        (counts.both_named, counts.exchanges),
        (counts.slips_found, counts.slips),
    ]
    shares += [
        (counts.false_accepted, counts.wells),
        (counts.false_reported, counts.wells),
        (counts.turned_found, counts.turned),
    ]
    cells = " ".join(f"{f'{part / whole:.1%}' if whole else '-':>9}" for part, whole in shares)
    wrongly = f"{counts.false_turned}/{counts.plates}"
    print(
        (
            f"{kind:14} {representation:10} {counts.exchanges:5} {cells} {wrongly:>9} "
            f"{1000 * float(np.median(counts.seconds)):5.0f}"
        ),
        flush=True,
    )


def main() -> None:
    """Print one row per kind of plate and representation, and one row for all kinds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5, help="plates per kind")
    parser.add_argument("--first-seed", type=int, default=201)
    parser.add_argument("--kinds", nargs="+", default=[*map(str, SCREENS), "untreated"])
    parser.add_argument(
        "--jobs", type=int, default=1, help="processes that render plates not yet cached"
    )
    options = parser.parse_args()
    heads = ("one named", "both", "slips", "wrong.5", "wrong.1", "turned", "so wrong")
    print(
        f"{'kind':14} {'compared':10} {'pairs':>5} {' '.join(f'{head:>9}' for head in heads)} "
        f"{'ms':>5}"
    )
    all_counts = {representation: AuditCounts() for representation in REPRESENTATIONS}
    for kind in options.kinds:
        of_kind = {representation: AuditCounts() for representation in REPRESENTATIONS}
        for _, seed, plate in observe_plates(
            [kind], range(options.first_seed, options.first_seed + options.seeds), jobs=options.jobs
        ):
            for representation in REPRESENTATIONS:
                audit_plate(
                    kind,
                    plate,
                    representation,
                    of_kind[representation],
                    np.random.default_rng(seed),
                )
        for representation, counts in of_kind.items():
            print_audit_row(kind, representation, counts)
            all_counts[representation].add(counts)
    for representation, counts in all_counts.items():
        print_audit_row("all", representation, counts)


if __name__ == "__main__":
    main()
