"""Files of a specimen's rankings: ``specimen-PAT-07/r1.{json,csv,html}`` and ``latest.json``."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from daemon.reports.revision_files import (
    Revision,
    RevisionIdentity,
    Written,
    find_written,
    write_revision,
)
from daemon.reports.specimen_page import specimen_html
from schemas.errors import OutputError
from schemas.specimen import OnPlate, SpecimenRanking, SpecimenTreatment
from schemas.tables import csv_text

_PLATE_FIELDS = [name for name in OnPlate.model_fields if name not in ("plate", "run")]


class _SpecimenIdentity(RevisionIdentity):
    """Fields that identify one revision of a specimen's ranking."""

    specimen: str

    @property
    def subject(self) -> str:
        """The specimen (id)."""
        return self.specimen


class _Specimen(BaseModel):
    """Fields that all rankings of one specimen have in common."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    specimen: str


def specimen_folder_name(specimen: str) -> str:
    """Return the name of a specimen's folder, which is beside the folders of the plates."""
    return f"specimen-{specimen}"


def write_specimen(ranking: SpecimenRanking, folder: Path) -> list[Path]:
    """Write the missing files of a specimen's ranking below ``folder`` and return all their paths.

    ``latest.json`` is written last. Existing files are not overwritten, except that a later
    revision replaces ``latest.json``.

    Raises
    ------
    OutputError
        If a file cannot be written, or a file of this name holds another ranking. A later call
        writes the remaining files.
    """
    if "/" in ranking.specimen:
        raise OutputError(
            folder, f"specimen {ranking.specimen!r} cannot name a folder; expected another name"
        )
    return write_revision(
        Revision(
            folder / specimen_folder_name(ranking.specimen),
            _SpecimenIdentity.model_validate(ranking),
            {
                f"{ranking.name}.json": lambda: ranking.model_dump_json(indent=2) + "\n",
                f"{ranking.name}.csv": lambda: specimen_csv(ranking),
                f"{ranking.name}.html": lambda: specimen_html(ranking),
            },
        )
    )


def newest_written_of_specimen(ranking: SpecimenRanking, folder: Path) -> Written:
    """Return the newest revision of a specimen's ranking that has a file below ``folder``."""
    home = folder / specimen_folder_name(ranking.specimen)
    return find_written(home, ranking.name, _Specimen.model_validate(ranking))


def specimen_csv(ranking: SpecimenRanking) -> str:
    """Return a specimen's ranking as CSV text with one row per treatment.

    Columns have the names of the JSON fields. The values of a treatment on one plate are in
    columns such as ``PDAC-0042.score``, or ``PDAC-0042 run 2.score`` where the id was used before.
    """
    fields = [name for name in SpecimenTreatment.model_fields if name != "plates"]
    plates = [plate.label for plate in ranking.plates if plate.left_out is None]
    header = [
        "specimen",
        "revision",
        *fields,
        *(f"{plate}.{name}" for plate in plates for name in _PLATE_FIELDS),
        "notice",
    ]
    return csv_text(header, (_row(ranking, row, fields, plates) for row in ranking.treatments))


def _row(
    ranking: SpecimenRanking, row: SpecimenTreatment, fields: list[str], plates: list[str]
) -> list[object]:
    """Return the CSV values of one treatment: its ``fields``, then those on each of ``plates``."""
    by_plate = {each.label: each for each in row.plates}
    on_plates = [
        getattr(by_plate.get(plate), name, None) for plate in plates for name in _PLATE_FIELDS
    ]
    return [
        ranking.specimen,
        ranking.revision,
        *(getattr(row, name) for name in fields),
        *on_plates,
        ranking.notice,
    ]
