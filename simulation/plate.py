"""Plans virtual plates: the treatment of each well and the kill that it causes, without pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, time, timedelta, timezone

import numpy as np

from schemas.plate_map import Group
from schemas.treatment import Dose, Treatment
from schemas.well import well_at
from simulation.growth import Growth, draw_growth
from simulation.kinds import DeathMechanism, Layout, Mechanism
from simulation.random_numbers import RandomPurpose, random_generator

DOSED_ON_DAY = 7
READOUT_DAY = 10
CULTURE_DAYS = tuple(range(1, READOUT_DAY + 1))
EXPLODED_FROM_KILL = 0.35
"""Smallest kill at which a bursting well counts as exploded."""
_FIRST_SEEDING = datetime(2026, 11, 2, 9, 0, tzinfo=timezone(timedelta(hours=1)))
_DOSED_AT = time(14, 0)
_ROWS, _COLUMNS = range(2, 8), range(2, 12)  # of the inner 60 wells; 1 = A
_REPLICATES = 3
_REPLICATE_SCATTER = 0.12  # standard deviation between replicate wells, in log odds of the kill
_DIVIDED_SCATTER = 0.4  # the same of a divided plate: 3 to 13 points, as in the real time course
_POSITION_EFFECT = 0.02  # standard deviation of the effects of edge and column on a divided plate
_MIDDLE_COLUMN, _HALF_WIDTH = 6.5, 4.5  # of the inner 60 wells
_COMBINATION_LEVELS = (0.35, 0.75)  # kill of the combination of a divided plate
_SINGLE_DOSE = Dose("gemcitabine", 1.0, "uM")
_COMPOUND_NAMES = (
    "paclitaxel",
    "oxaliplatin",
    "irinotecan",
    "5-fluorouracil",
    "trametinib",
    "erlotinib",
    "everolimus",
    "olaparib",
    "doxorubicin",
    "bortezomib",
)


@dataclass(frozen=True)
class Compound:
    """A drug: Hill curve of its kill on the readout day, death mechanism and time course."""

    name: str
    unit: str
    ec50: float  # concentration of half the largest kill, in ``unit``
    hill: float
    emax: float  # largest kill, 0…1
    mechanism: DeathMechanism
    rate_per_day: float  # of the exponential increase of the kill after dosing
    darkens: bool  # for IN_PLACE: dead tissue becomes darker, otherwise paler

    def kill(self, amount: float) -> float:
        """Return the kill, 0…1, on the readout day at a concentration in the compound's unit."""
        return float(self.emax / (1 + (self.ec50 / amount) ** self.hill))

    def dose_for_kill(self, kill: float) -> Dose:
        """Return the dose, rounded to two digits, with this kill on the readout day."""
        return Dose(
            self.name,
            float(f"{self.ec50 * (kill / (self.emax - kill)) ** (1 / self.hill):.2g}"),
            self.unit,
        )


@dataclass(frozen=True)
class WellPlan:
    """Position, group and treatment of a well, and the kill that the treatment will cause."""

    well: str
    row: int
    column: int
    group: Group
    treatment: str
    mechanism: DeathMechanism | None  # None for untreated wells
    readout_kill: float  # 0…1, on the readout day
    rate_per_day: float  # of the exponential increase of the kill after dosing
    darkens: bool  # for IN_PLACE: dead tissue becomes darker, otherwise paler

    @property
    def key(self) -> int:
        """Number that identifies the position of the well on a plate."""
        return self.row * 100 + self.column

    def kill(self, day: int) -> float:
        """Return the kill on a culture day: 1 − viable fraction relative to the untreated well.

        It is 0 up to the dosing day, whose images are taken before the dose.
        """
        if day <= DOSED_ON_DAY:
            return 0.0
        whole = 1 - math.exp(-self.rate_per_day * (READOUT_DAY - DOSED_ON_DAY))
        return self.readout_kill * min(
            1.0, (1 - math.exp(-self.rate_per_day * (day - DOSED_ON_DAY))) / whole
        )

    def exploded(self, day: int) -> bool:
        """Return whether the tissue counts as exploded on a culture day."""
        return self.mechanism is Mechanism.BURSTING and self.kill(day) >= EXPLODED_FROM_KILL


@dataclass(frozen=True)
class VirtualPlate:
    """A planned plate; all its properties follow from ``seed`` and ``index``."""

    name: str
    seed: int
    index: int
    seeded_at: datetime
    wells: tuple[WellPlan, ...]
    growth: Growth  # of untreated tissue
    edge_effect: float = 0.0  # of the log radius of wells at the edge of the inner 60
    column_effect: float = 0.0  # of the log radius from the middle to the last column
    is_divided: bool = False  # layout DIVIDED

    @property
    def dosed_at(self) -> datetime:
        """Time of dosing."""
        return datetime.combine(
            self.seeded_at.date() + timedelta(days=DOSED_ON_DAY - 1),
            _DOSED_AT,
            self.seeded_at.tzinfo,
        )

    def place_factor(self, plan: WellPlan) -> float:
        """Return the factor of the radius at the position of a well."""
        at_edge = plan.row in (_ROWS[0], _ROWS[-1]) or plan.column in (_COLUMNS[0], _COLUMNS[-1])
        along = (plan.column - _MIDDLE_COLUMN) / _HALF_WIDTH
        return math.exp(self.edge_effect * at_edge + self.column_effect * along)

    def taken_at(self, plan: WellPlan, day: int) -> datetime:
        """Return the time at which the robot images a well on a culture day.

        The first well is imaged 90 minutes after the hour of seeding, the others row by row, 12 s
        apart.
        """
        order = (plan.row - 1) * 12 + plan.column - 1
        return self.seeded_at + timedelta(days=day - 1, minutes=90, seconds=12 * order)

    def plate_map_toml(self, um_per_px: float) -> str:
        """Return the text of ``<plate>.plate.toml`` for images of a given scale."""
        return (
            f'plate = "{self.name}"\n'
            f"seeded_at = {self.seeded_at.isoformat()}\n"
            f"dosed_on_day = {DOSED_ON_DAY}\n"
            f"dosed_at = {self.dosed_at.isoformat()}\n"
            f"readout_day = {READOUT_DAY}\n"
            f"um_per_px = {um_per_px:.6g}\n"
            + ('divided_by = "columns"\n' if self.is_divided else "")
        )

    def plate_map_csv(self) -> str:
        """Return the text of ``<plate>.wells.csv``."""
        return "well,group,treatment\n" + "".join(
            f"{plan.well},{plan.group},{plan.treatment}\n" for plan in self.wells
        )

    def assay_csv(self) -> str:
        """Return the text of ``<plate>.assay.csv``: viability on the readout day with assay noise.

        The unit is percent of the same well untreated.
        """
        lines = ["well,viability_percent"]
        for plan in self.wells:
            gain, offset = random_generator(
                self.seed, RandomPurpose.ASSAY, self.index, plan.key
            ).normal(0, (0.05, 1.5))
            viability = 100 * (1 - plan.kill(READOUT_DAY)) * (1 + gain) + offset
            lines.append(f"{plan.well},{max(0.0, viability):.2f}")
        return "\n".join(lines) + "\n"


def plan_plate(
    seed: int,
    index: int = 1,
    *,
    mechanism: DeathMechanism | None = None,
    layout: Layout = Layout.SCREEN,
    mechanisms: Sequence[DeathMechanism] = tuple(Mechanism),
    growth: Growth | None = None,
) -> VirtualPlate:
    """Return plate number ``index`` of a seed as VirtualPlate.

    Parameters
    ----------
    seed, index
        Seed, and number of the plate from 1.
    mechanism, mechanisms
        Death mechanism of each compound; without it the compounds have ``mechanisms`` in random
        order.
    layout
        Treatment groups of the wells.
    growth
        Growth of untreated tissue; without it, that of a random measured seeding. Growth arrest
        removes at most the tissue that has grown since dosing.
    """
    rng = random_generator(seed, RandomPurpose.PLAN, index)
    growth = growth or draw_growth(random_generator(seed, RandomPurpose.SEEDING, index))
    chosen = tuple(mechanisms) if mechanism is None else (mechanism,)
    is_divided = layout is Layout.DIVIDED
    compounds, treatments = (
        _choose_combination(rng, chosen, growth.arrest_emax)
        if is_divided
        else _choose_treatments(rng, chosen, layout, growth.arrest_emax)
    )
    positions = _choose_halves(rng) if is_divided else _choose_positions(rng, layout)
    replicates = len(positions.screening) // len(treatments)
    scatter = _DIVIDED_SCATTER if is_divided else _REPLICATE_SCATTER
    edge, column = rng.normal(0, _POSITION_EFFECT, 2).tolist() if is_divided else (0.0, 0.0)
    wells = [
        _plan_untreated(row, column, vehicle=layout is Layout.SCREEN and number % _REPLICATES == 0)
        for number, (row, column) in enumerate(positions.untreated)
    ]
    single_dose = [
        (position, Treatment((_SINGLE_DOSE,)), 0.0) for position in positions.single_dose
    ]
    screening = [
        (position, *treatment)
        for position, treatment in zip(positions.screening, treatments * replicates, strict=True)
    ]
    for group, treated in ((Group.SINGLE_DOSE, single_dose), (Group.SCREENING, screening)):
        wells += [
            _plan_treated(
                seed, index, position, group, treatment, compounds, interaction, scatter=scatter
            )
            for position, treatment, interaction in treated
        ]
    return VirtualPlate(
        name=f"VIRTUAL-{seed:04d}-{index:02d}",
        seed=seed,
        index=index,
        seeded_at=_FIRST_SEEDING + timedelta(days=index - 1),
        wells=tuple(sorted(wells, key=lambda plan: plan.key)),
        growth=growth,
        edge_effect=edge,
        column_effect=column,
        is_divided=is_divided,
    )


@dataclass(frozen=True)
class _Positions:
    """Positions, (row, column) from 1, of the wells by group."""

    untreated: tuple[tuple[int, int], ...]
    single_dose: tuple[tuple[int, int], ...]
    screening: tuple[tuple[int, int], ...]


def _choose_positions(rng: np.random.Generator, layout: Layout) -> _Positions:
    """Return random positions of the groups, with untreated wells in every row.

    Thus the position of a well does not predict its treatment.
    """
    untreated_per_row = 3 if layout is Layout.SCREEN else 5
    rows_with_single_dose = set(
        _ROWS if layout is Layout.SCREEN else rng.permutation(_ROWS)[:_REPLICATES].tolist()
    )
    untreated, single_dose, screening = [], [], []
    for row in _ROWS:
        wells = [(row, int(column)) for column in rng.permutation(_COLUMNS)]
        untreated += wells[:untreated_per_row]
        rest = wells[untreated_per_row:]
        if row in rows_with_single_dose:
            single_dose.append(rest.pop())
        screening += rest
    rng.shuffle(screening)
    return _Positions(
        tuple(untreated),
        tuple(single_dose),
        tuple((int(row), int(column)) for row, column in screening),
    )


def _choose_halves(rng: np.random.Generator) -> _Positions:
    """Return the untreated wells of one half of the columns, and treated wells of the other."""
    halves = [
        tuple(
            (row, column)
            for row in _ROWS
            for column in _COLUMNS
            if (column < _MIDDLE_COLUMN) is left
        )
        for left in (True, False)
    ]
    first = int(rng.integers(2))
    return _Positions(halves[first], (), halves[1 - first])


def _choose_combination(
    rng: np.random.Generator, mechanisms: tuple[DeathMechanism, ...], arrest_emax: float
) -> tuple[dict[str, Compound], list[tuple[Treatment, float]]]:
    """Return two random compounds by name, and their combination as the only treatment."""
    names = [str(name) for name in rng.permutation(_COMPOUND_NAMES)[:2]]
    order = rng.permutation(np.resize(rng.permutation(len(mechanisms)), len(names)))
    compounds = {
        name: _choose_compound(rng, name, mechanisms[place], arrest_emax)
        for name, place in zip(names, order, strict=True)
    }
    level = float(rng.uniform(*_COMBINATION_LEVELS))
    of_each = 1 - math.sqrt(1 - level)  # Bliss independence
    doses = sorted(
        (each.dose_for_kill(each.emax * of_each) for each in compounds.values()),
        key=lambda dose: dose.compound,
    )
    return compounds, [(Treatment(tuple(doses)), 0.0)]


def _choose_treatments(
    rng: np.random.Generator,
    mechanisms: tuple[DeathMechanism, ...],
    layout: Layout,
    arrest_emax: float,
) -> tuple[dict[str, Compound], list[tuple[Treatment, float]]]:
    """Return random compounds by name and screening treatments with their interactions.

    An interaction is in log odds: positive for synergy, negative for antagonism, 0 for one drug.
    """
    count, combinations = (5, 2) if layout is Layout.SCREEN else (4, 1)
    names = [
        _SINGLE_DOSE.compound,
        *(str(name) for name in rng.permutation(_COMPOUND_NAMES)[:count]),
    ]
    order = np.resize(rng.permutation(len(mechanisms)), len(names))
    compounds = {
        name: _choose_compound(rng, name, mechanisms[place], arrest_emax)
        for name, place in zip(names, order, strict=True)
    }
    # The effects cover the range evenly, as if the doses were chosen after a pilot experiment.
    levels = rng.permutation(
        (np.arange(2 * count) + rng.uniform(0.2, 0.8, 2 * count)) / (2 * count)
    ).reshape(count, 2)
    singles = [
        compounds[name].dose_for_kill(compounds[name].emax * level)
        for name, pair in zip(names[1:], levels, strict=True)
        for level in sorted(pair)
    ]
    treatments = [(Treatment((dose,)), 0.0) for dose in singles]
    low_doses = rng.permutation(np.arange(0, 2 * count, 2))
    for one, other in zip(low_doses[:combinations], low_doses[combinations:], strict=False):
        doses = sorted((singles[one], singles[other]), key=lambda dose: dose.compound)
        treatments.append((Treatment(tuple(doses)), float(rng.normal(0, 0.5))))
    return compounds, treatments


def _choose_compound(
    rng: np.random.Generator, name: str, mechanism: DeathMechanism, arrest_emax: float
) -> Compound:
    """Return a compound of a given name and mechanism with a random dose response."""
    single_dose = name == _SINGLE_DOSE.compound
    # Growth arrest removes at most the growth since dosing; other mechanisms nearly all cells.
    emax = arrest_emax if mechanism is Mechanism.GROWTH_ARREST else float(rng.uniform(0.93, 0.97))
    unit = "uM" if single_dose else str(rng.choice(["nM", "uM"]))
    hill = float(rng.uniform(0.8, 2.0))
    ec50 = float(
        np.exp(
            rng.uniform(np.log(0.2), np.log(5))
            if unit == "uM"
            else rng.uniform(np.log(5), np.log(200))
        )
    )
    if single_dose:
        ec50 = _SINGLE_DOSE.amount * float(
            rng.uniform(0.15, 0.4)
        )  # the recommended dose is effective
    return Compound(
        name,
        unit,
        ec50,
        hill,
        emax,
        mechanism,
        float(rng.uniform(0.4, 0.9)),
        darkens=bool(rng.random() < 0.5),  # noqa: PLR2004 - half of the compounds
    )


def _plan_untreated(row: int, column: int, *, vehicle: bool) -> WellPlan:
    """Return the plan of an untreated well or, with ``vehicle``, of a DMSO control."""
    treatment = Treatment((Dose("DMSO", 0.1, "%"),)) if vehicle else Treatment()
    return WellPlan(
        well_at(row, column),
        row,
        column,
        Group.UNTREATED,
        str(treatment),
        None,
        0.0,
        1.0,
        darkens=False,
    )


def _plan_treated(
    seed: int,
    index: int,
    position: tuple[int, int],
    group: Group,
    treatment: Treatment,
    compounds: dict[str, Compound],
    interaction: float,
    *,
    scatter: float,
) -> WellPlan:
    """Return the plan of a treated well.

    Doses combine by Bliss independence, with an interaction in log odds. Replicate wells differ by
    a random amount with the standard deviation ``scatter``, in log odds. Mechanism and time course
    are those of the drug with the largest kill.
    """
    row, column = position
    kills = {dose.compound: compounds[dose.compound].kill(dose.amount) for dose in treatment.doses}
    leading = compounds[max(kills, key=lambda name: kills[name])]
    fraction = min((1 - math.prod(1 - kill for kill in kills.values())) / leading.emax, 0.98)
    deviation = float(
        random_generator(seed, RandomPurpose.REPLICATE, index, row, column).normal(0, scatter)
    )
    odds = fraction / (1 - fraction) * math.exp(interaction + deviation)
    kill = leading.emax * odds / (1 + odds)
    return WellPlan(
        well_at(row, column),
        row,
        column,
        group,
        str(treatment),
        leading.mechanism,
        kill,
        leading.rate_per_day,
        darkens=leading.darkens,
    )


def select_wells(plate: VirtualPlate, count: int) -> VirtualPlate:
    """Return a copy of a virtual plate with only ``count`` of its wells.

    All replicate wells of a treatment are kept or none, the effects still cover the range evenly,
    and untreated wells are the rest.
    """
    if count >= len(plate.wells):
        return plate
    untreated, single_dose, screening = (
        [plan for plan in plate.wells if plan.group is group]
        for group in (Group.UNTREATED, Group.SINGLE_DOSE, Group.SCREENING)
    )
    kills: dict[str, float] = {}
    for plan in screening:
        kills[plan.treatment] = kills.get(plan.treatment, 0.0) + plan.readout_kill
    treatments = sorted(kills, key=lambda treatment: kills[treatment])
    share = -(-count * len(untreated) // len(plate.wells))
    places = (
        np.linspace(0, len(treatments) - 1, max(1, (count - share - _REPLICATES) // _REPLICATES))
        .round()
        .astype(int)
    )
    treated = single_dose[:_REPLICATES] + [
        plan for plan in screening if plan.treatment in {treatments[place] for place in places}
    ]
    controls = [
        untreated[place]
        for place in np.linspace(0, len(untreated) - 1, count - len(treated)).round().astype(int)
    ]
    return replace(plate, wells=tuple(sorted(controls + treated, key=lambda plan: plan.key)))
