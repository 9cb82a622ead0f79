"""The ranking of a specimen as files: ``specimen-PAT-07/r1.{json,csv,html}`` and ``latest.json``, as whole as those of a plate."""

from pathlib import Path

from daemon.reports.revision_files import Identity, Revision, write_revision
from daemon.reports.specimen_page import specimen_html
from schemas.errors import OutputError
from schemas.specimen import OnPlate, SpecimenRanking, SpecimenTreatment
from schemas.tables import csv_text

_ALONE = [name for name in OnPlate.model_fields if name != "plate"]


class _Identity(Identity):
    specimen: str


def folder_of(specimen: str) -> str:
    """Return the name of a specimen's folder, beside those of the plates."""
    return f"specimen-{specimen}"


def write_specimen(ranking: SpecimenRanking, folder: Path) -> list[Path]:
    """Write what is missing of a ranking's files below ``folder``, ``latest.json`` last; return the paths of all of them.

    Raises
    ------
    OutputError
        If a file cannot be written, or another ranking of this name stands there. Trying again later goes on where it failed.
    """
    if "/" in ranking.specimen:
        raise OutputError(
            folder, f"specimen {ranking.specimen!r} cannot name a folder; expected another name"
        )
    return write_revision(
        Revision(
            folder / folder_of(ranking.specimen),
            _Identity.model_validate(ranking),
            {
                f"{ranking.name}.json": lambda: ranking.model_dump_json(indent=2) + "\n",
                f"{ranking.name}.csv": lambda: specimen_csv(ranking),
                f"{ranking.name}.html": lambda: specimen_html(ranking),
            },
        )
    )


def specimen_csv(ranking: SpecimenRanking) -> str:
    """Return one row a treatment, with the names of the JSON; what each plate says alone stands in columns such as ``PDAC-0042.score``."""
    fields = [name for name in SpecimenTreatment.model_fields if name != "plates"]
    plates = [plate.plate for plate in ranking.plates if plate.left_out is None]
    header = [
        "specimen",
        "revision",
        *fields,
        *(f"{plate}.{name}" for plate in plates for name in _ALONE),
        "notice",
    ]
    return csv_text(header, (_row(ranking, row, fields, plates) for row in ranking.treatments))


def _row(
    ranking: SpecimenRanking, row: SpecimenTreatment, fields: list[str], plates: list[str]
) -> list[object]:
    alone = {each.plate: each for each in row.plates}
    of_plates = [getattr(alone.get(plate), name, None) for plate in plates for name in _ALONE]
    return [
        ranking.specimen,
        ranking.revision,
        *(getattr(row, name) for name in fields),
        *of_plates,
        ranking.notice,
    ]
