"""Parse the plate map of a plate, ``plate.toml`` and a table of its wells, into a PlateMap."""

import hashlib
import re
import tomllib
from datetime import datetime, time
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from schemas.errors import PlateMapError
from schemas.ids import checked_id
from schemas.moments import parse_moment
from schemas.plate_tables import Table, column_name, joined
from schemas.treatment import parse_treatment, spelling_notes, treatment_names
from schemas.well import INNER_60, PLATE_SHAPES, parse_well, row_column, well_at
from schemas.well_texts import well_texts

PlateId = Annotated[str, AfterValidator(checked_id)]
"""Id of a plate; folders are named by it."""
SpecimenId = Annotated[str, AfterValidator(checked_id)]
"""Id of a specimen; folders are named by it."""
WellName = Annotated[str, BeforeValidator(parse_well)]
"""Name of a well, normalised to a row letter and two digits."""
LineName = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=120)]
"""Name of a cell line or tissue; the untreated wells of one line vary and grow alike."""
TreatmentText = Annotated[str, BeforeValidator(lambda text: str(parse_treatment(text)))]
"""Canonical text of a treatment."""


def _standard_plate(wells: int) -> int:
    """Return a number of wells; raise ValueError if there is no standard plate of this size."""
    if wells not in PLATE_SHAPES:
        expected = ", ".join(map(str, PLATE_SHAPES))
        raise ValueError(f"plate_wells is {wells}; expected one of {expected}")
    return wells


def _time_of_day(value: object) -> object:
    """Return a time of day unchanged; raise ValueError for a number or a time with a zone.

    Pydantic would interpret a number as seconds since midnight.
    """
    if not isinstance(value, str | time) or (
        isinstance(value, str) and not _TIME_OF_DAY.fullmatch(value)
    ):
        raise ValueError(
            f"{value!r} is not a time of day; expected one such as 10:00, "
            "in the time zone of seeded_at"
        )
    return value


_TIME_OF_DAY = re.compile(r"\d\d:\d\d(:\d\d(\.\d+)?)?")
TimeOfDay = Annotated[time, BeforeValidator(_time_of_day)]
"""Local time of day, in the time zone of ``seeded_at``."""
PlateWells = Annotated[int, AfterValidator(_standard_plate)]
"""Number of wells of a standard plate."""
CultureDays = Annotated[tuple[Annotated[int, Field(ge=1, le=1000)], ...], Field(min_length=1)]
"""Culture days, each from 1 to 1000."""


MAX_TOML_CHARACTERS = 50_000
"""Largest ``plate.toml``; the time to parse a long key grows with the square of its length."""

MOMENT_KEYS = ("seeded_at", "dosed_at")
"""Keys of ``plate.toml`` whose value is a date and time with zone."""


class Group(StrEnum):
    """Role of a well on the plate."""

    UNTREATED = "untreated"
    SINGLE_DOSE = "single_dose"
    SCREENING = "screening"
    BLANK = "blank"


class ScaleFrom(StrEnum):
    """Source of the scale of a plate's images, where plate map and files contradict each other."""

    FILE = "file"
    MAP = "map"


class DividedBy(StrEnum):
    """Direction in which a half-divided plate is divided."""

    COLUMNS = "columns"  # the left and the right half
    ROWS = "rows"  # the upper and the lower half


class WellEntry(BaseModel):
    """One row of a table of wells: a well with its group and treatment."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    well: WellName
    group: Group
    treatment: TreatmentText = ""

    @model_validator(mode="after")
    def _group_fits_treatment(self) -> "WellEntry":
        # An untreated well may have a vehicle (DMSO:0.1 %), so only these two cases are
        # contradictory.
        if self.group in (Group.SINGLE_DOSE, Group.SCREENING) and not self.treatment:
            raise ValueError(
                f"group {self.group} has no treatment; expected one, such as gemcitabine:1 uM"
            )
        if self.group is Group.BLANK and self.treatment:
            raise ValueError(f"group blank has treatment {self.treatment!r}; expected none")
        return self


class PlateFile(BaseModel):
    """Content of ``<plate>.plate.toml``: the settings of a plate, such as its culture days."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    plate: PlateId
    seeded_at: AwareDatetime
    dosed_on_day: int = Field(default=7, ge=1, le=1000)
    dosed_at: AwareDatetime | None = None
    readout_day: int = Field(default=10, ge=2, le=1000)
    um_per_px: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    um_per_px_from: ScaleFrom | None = None
    """Decision which scale is used if the files contradict the plate map or each other."""
    specimen: SpecimenId | None = None
    line: LineName | None = None
    """Cell line; plates without this key belong to one line."""
    wells: Literal["inner60"] | tuple[WellName, ...] = "inner60"
    divided_by: DividedBy | None = None
    """Declares a half-divided plate: all untreated wells in one half, and one treatment in the
    other. None: any layout.
    """
    plate_wells: PlateWells | None = None
    """Number of wells of the plate, for a microscope of this service; None: the configured one."""
    acquire_at: TimeOfDay | None = None
    """Time of imaging with a microscope of this service; None: the configured time."""
    acquire_days: CultureDays | None = None
    """Culture days of imaging with a microscope of this service; None: the configured days."""

    @model_validator(mode="after")
    def _days_in_order(self) -> "PlateFile":
        if self.readout_day <= self.dosed_on_day:
            raise ValueError(
                f"readout_day is {self.readout_day}; "
                f"expected a day after dosed_on_day = {self.dosed_on_day}"
            )
        if self.dosed_at is not None and self.culture_day(self.dosed_at) != self.dosed_on_day:
            raise ValueError(
                f"dosed_at is on culture day {self.culture_day(self.dosed_at)}; "
                f"expected dosed_on_day = {self.dosed_on_day}"
            )
        return self

    @model_validator(mode="after")
    def _map_has_the_scale_that_it_decides(self) -> "PlateFile":
        if self.um_per_px_from is ScaleFrom.MAP and self.um_per_px is None:
            raise ValueError('um_per_px_from is "map"; expected the key um_per_px too')
        return self

    def culture_day(self, at: datetime) -> int:
        """Return the culture day of a time: 1 + the difference of calendar dates since seeding.

        Dates are in the time zone of ``seeded_at``.
        """
        return 1 + (at.astimezone(self.seeded_at.tzinfo).date() - self.seeded_at.date()).days


class PlateMap(PlateFile):
    """The settings of a plate and the group and treatment of each of its wells."""

    entries: tuple[WellEntry, ...]
    run: int = Field(default=1, ge=1, exclude=True)
    """Number of this use of the plate id, from 1; the store knows it, the files do not."""
    notes: tuple[str, ...] = ()
    """Treatments and compounds that the table of wells writes in several ways."""

    @property
    def by_well(self) -> dict[str, WellEntry]:
        """New dictionary from the name of each well to its entry."""
        return {entry.well: entry for entry in self.entries}

    @property
    def wells_with_tissue(self) -> tuple[str, ...]:
        """Names of all wells that are not blank; a complete day has an image of each."""
        return tuple(entry.well for entry in self.entries if entry.group is not Group.BLANK)

    @property
    def untreated_wells(self) -> frozenset[str]:
        """Names of the untreated wells, those with a vehicle included."""
        return frozenset(entry.well for entry in self.entries if entry.group is Group.UNTREATED)

    @property
    def treatments(self) -> frozenset[str]:
        """Treatments of all wells that are neither untreated nor blank."""
        return frozenset(
            entry.treatment
            for entry in self.entries
            if entry.group not in (Group.UNTREATED, Group.BLANK)
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the content without run, notes and imaging; a corrected map has another.

        Imaging times, the plate format and notes do not influence the order of a ranking. A map
        without ``um_per_px_from`` or ``divided_by`` has the digest that it had before these keys
        existed.
        """
        excluded = {"acquire_at", "acquire_days", "notes", "plate_wells"}
        later = {"um_per_px_from": self.um_per_px_from, "divided_by": self.divided_by}
        excluded |= {key for key, value in later.items() if value is None}
        return hashlib.sha256(self.model_dump_json(exclude=excluded).encode()).hexdigest()


def parse_plate_map(toml_text: str, wells: Table, *, toml_name: str) -> PlateMap:
    """Parse the text (with a name for errors) of ``plate.toml`` and a Table of wells to a PlateMap.

    Parameters
    ----------
    toml_text
        Content of ``plate.toml``.
    wells
        The rows of ``wells.csv`` or ``wells.xlsx``: a list of wells, or a grid of treatments.
    toml_name
        Name of ``plate.toml``, for error messages.

    Raises
    ------
    PlateMapError
        If a file is not valid. The message lists every problem with file, line or key, value
        and expectation.
    """
    plate_file = _parse_plate_file(toml_text, toml_name)
    entries = _parse_wells(wells)
    if "wells" in plate_file.model_fields_set:
        # Without the key `wells`, the table lists the wells in use, outer wells included.
        allowed = set(INNER_60 if plate_file.wells == "inner60" else plate_file.wells)
        if outside := [entry.well for entry in entries if entry.well not in allowed]:
            raise PlateMapError(
                wells.name,
                f"{', '.join(outside)} listed here, but `wells` in {toml_name} is "
                f"{plate_file.wells!r}; expected only wells of that list",
            )
    if plate_file.plate_wells is not None:
        _check_wells_of_plate(entries, plate_file.plate_wells, wells.name, toml_name)
    if plate_file.divided_by is not None:
        _check_halves(entries, plate_file.divided_by, wells.name, toml_name)
    written = [entry.treatment for entry in entries]
    names = treatment_names(written)
    return PlateMap(
        **plate_file.model_dump(),
        entries=tuple(
            entry.model_copy(update={"treatment": names[entry.treatment]}) for entry in entries
        ),
        notes=spelling_notes(written),
    )


def _check_wells_of_plate(
    entries: list[WellEntry], plate_wells: int, table_name: str, toml_name: str
) -> None:
    """Raise PlateMapError if a listed well is not on a plate of ``plate_wells`` wells."""
    rows, columns = PLATE_SHAPES[plate_wells]
    places = {entry.well: row_column(entry.well) for entry in entries}
    if outside := [
        well for well, (row, column) in places.items() if row > rows or column > columns
    ]:
        raise PlateMapError(
            table_name,
            f"{', '.join(outside)} listed here, but `plate_wells` in {toml_name} is {plate_wells}; "
            f"expected wells up to {well_at(rows, columns)}",
        )


def _check_halves(
    entries: list[WellEntry], divided_by: DividedBy, table_name: str, toml_name: str
) -> None:
    """Raise PlateMapError unless one half has all untreated wells, and the other one treatment."""
    axis = 1 if divided_by is DividedBy.COLUMNS else 0
    untreated, treated = (
        {
            entry.well: row_column(entry.well)[axis]
            for entry in entries
            if (entry.group is Group.UNTREATED) is wanted and entry.group is not Group.BLANK
        }
        for wanted in (True, False)
    )
    said = f"but `divided_by` in {toml_name} is {str(divided_by)!r}"
    if not untreated or not treated:
        missing = "treated" if untreated else "untreated"
        raise PlateMapError(
            table_name, f"no {missing} wells, {said}; expected one half of each kind"
        )
    if max(untreated.values()) >= min(treated.values()) and max(treated.values()) >= min(
        untreated.values()
    ):
        first, last = (find(untreated, key=lambda well: untreated[well]) for find in (min, max))
        raise PlateMapError(
            table_name,
            f"untreated wells from {first} to {last} are in both halves, {said}; expected all "
            f"untreated wells in {divided_by} before or after those of the treated wells",
        )
    names = {entry.treatment for entry in entries if entry.well in treated}
    if len(names) > 1:
        raise PlateMapError(
            table_name,
            f"{len(names)} treatments ({', '.join(sorted(names))}), {said}; expected one",
        )


def parse_group(text: str) -> Group:
    """Return the Group that a text such as ``Single dose`` names.

    Raises
    ------
    ValueError
        If there is no such group.
    """
    try:
        return Group(column_name(text))
    except ValueError:
        raise ValueError(
            f"group is {text!r}; expected {', '.join(map(repr, map(str, Group)))}"
        ) from None


def _parse_plate_file(text: str, name: str) -> PlateFile:
    """Return the content of ``plate.toml``; raise PlateMapError with every problem."""
    if len(text) > MAX_TOML_CHARACTERS:
        raise PlateMapError(
            name, f"has {len(text)} characters; expected at most {MAX_TOML_CHARACTERS}"
        )
    try:
        content = tomllib.loads(re.sub(r"\r\n?", "\n", text.removeprefix("\ufeff")))
    except (ValueError, RecursionError) as error:
        raise PlateMapError(name, f"is not TOML: {error}") from error
    wrong = {
        key: f"{key} is {str(value).lower()}; expected no truth value"
        for key, value in content.items()
        if isinstance(value, bool)
    }
    for key in {*MOMENT_KEYS}.intersection(content).difference(wrong):
        try:
            content[key] = parse_moment(key, content[key])
        except ValueError as error:
            wrong[key] = str(error)
    problems = list(wrong.values())
    try:
        plate_file = PlateFile.model_validate(
            {key: value for key, value in content.items() if key not in wrong}
        )
    except ValidationError as error:
        problems += [
            _describe(problem) for problem in error.errors() if not wrong.keys() & {*problem["loc"]}
        ]
    if problems:
        raise PlateMapError(name, joined(problems))
    return plate_file


def _parse_wells(table: Table) -> list[WellEntry]:
    """Return the wells of a list or a grid; raise PlateMapError with every problem."""
    texts, problems = well_texts(table)
    entries: list[WellEntry] = []
    seen: dict[str, str] = {}
    for each in texts:
        place = each.place
        try:
            entry = WellEntry.model_validate(
                {
                    "well": each.well,
                    "group": parse_group(each.group),
                    "treatment": each.treatment,
                }
            )
        except ValidationError as error:
            problems += [f"{place}: {_describe(problem)}" for problem in error.errors()]
            continue
        except ValueError as error:
            problems.append(f"{place}: {error}")
            continue
        if entry.well in seen:
            problems.append(
                f"{place}: well {entry.well} is already on {seen[entry.well]}; "
                "expected each well once"
            )
        seen[entry.well] = place
        entries.append(entry)
    if problems:
        raise PlateMapError(table.name, joined(problems))
    if not entries:
        raise PlateMapError(table.name, "no wells; expected one row for each well")
    return entries


def _describe(problem: object) -> str:
    """Return one pydantic error as text: ``key K is V; expected …``."""
    assert isinstance(problem, dict)  # noqa: S101 - narrows pydantic's TypedDict for mypy
    key = ".".join(map(str, problem["loc"])) or "the file"
    message = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if problem["type"] == "missing":
        return f"key {key} is missing"
    if problem["type"] == "extra_forbidden":
        return f"key {key} is unknown; expected one of {', '.join(PlateFile.model_fields)}"
    if problem["type"] == "value_error":
        return f"{key} {message}" if key in ("plate", "specimen") else message
    return f"{key} is {problem['input']!r}; expected {message}"
