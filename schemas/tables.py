"""CSV text of rankings: one row per treatment or well, with the field names of the JSON."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum

from pydantic import BaseModel

from schemas.ranking import FOR_RESEARCH_USE_ONLY, Reason, TreatmentRank, TreatmentTable, WellRank

LeadingColumns = Mapping[str, object]
"""Names and values of the first columns of a table's rows, such as ``plate``."""
EXPANDED_FIELDS = {"measures": "", "departures": "departure_"}
"""Fields with one column per entry, and the prefix of the names of these columns."""


def treatments_csv(tables: Sequence[tuple[LeadingColumns, TreatmentTable]]) -> str:
    """Return CSV text with a row per treatment of (leading columns, TreatmentTable) pairs."""
    return _csv(TreatmentRank, [(leading, table.treatments) for leading, table in tables])


def wells_csv(tables: Sequence[tuple[LeadingColumns, TreatmentTable]]) -> str:
    """Return CSV text with a row per well of (leading columns, TreatmentTable) pairs."""
    return _csv(WellRank, [(leading, table.wells) for leading, table in tables])


def csv_text(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a header and rows as CSV text; numbers keep their full precision."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow(map(_cell, row))
    return out.getvalue()


def _csv(
    model: type[BaseModel],
    tables: Sequence[tuple[LeadingColumns, Sequence[TreatmentRank | WellRank]]],
) -> str:
    """Return the rows of several tables as CSV text, with the model's fields as columns."""
    fields = [name for name in model.model_fields if name not in EXPANDED_FIELDS]
    expanded = [
        (field, name)
        for field in EXPANDED_FIELDS
        if field in model.model_fields
        for name in sorted(
            {name for _, rows in tables for row in rows for name in getattr(row, field)}
        )
    ]
    header = [
        *(tables[0][0] if tables else ()),
        *fields,
        *(EXPANDED_FIELDS[field] + name for field, name in expanded),
        "notice",
    ]
    return csv_text(
        header,
        (
            (
                *leading.values(),
                *(getattr(row, name) for name in fields),
                *(getattr(row, field).get(name) for field, name in expanded),
                FOR_RESEARCH_USE_ONLY,
            )
            for leading, rows in tables
            for row in rows
        ),
    )


def _cell(value: object) -> str:
    """Return a value as the text of one CSV cell."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case Reason():
            return f"{value.seen} ({value.spreads:+.1f} spreads from day {value.from_day})"
        case tuple():
            return ("; " if value and isinstance(value[0], Reason) else " ").join(map(_cell, value))
        case Enum():
            return str(value.value)
        case _:
            return str(value)  # the shortest text of a float that reads back as the same number
