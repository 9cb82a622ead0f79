"""Valid examples of the objects of ``schemas``; a test names only the fields that it needs."""

# ruff: noqa: ANN401 - `changes` are any fields of the class

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from schemas.assay import Assay
from schemas.calibration import CalibrationCard
from schemas.messages import (
    ObservationData,
    RankingData,
    RejectedData,
    ServiceState,
    SpecimenData,
    StatusData,
)
from schemas.observation import Observation
from schemas.plate_map import Group, PlateMap, WellEntry
from schemas.plate_tables import Table, csv_table
from schemas.quality import Quality
from schemas.ranking import (
    Condition,
    Gate,
    Ranking,
    RankingQuality,
    Scale,
    TreatmentRank,
    Verdict,
    WellRank,
)
from schemas.scale import FileScale
from schemas.specimen import Agreement, OnPlate, PlateOfSpecimen, SpecimenRanking, SpecimenTreatment
from schemas.well import INNER_60
from schemas.well_image import FileVersion, Rejected, VisitKey, WellImage
from schemas.well_texts import WELL_COLUMNS

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC)
SEEDED_AT = datetime.fromisoformat("2026-11-10T09:00:00+01:00")
ENCODER_ID = "e" * 64
MEASURED_BY = "classical-4+measures-1"
PLATE = "PDAC-0042"
SPECIMEN = "PAT-07"


def wells_table(text: str) -> Table:
    """Return the text of ``wells.csv`` as a table."""
    return csv_table(text.encode(), "wells.csv", WELL_COLUMNS)


def file_version(
    path: str = "PDAC-0042/day07/B02_z1.tif",
    *,
    size: int = 1000,
    mtime_ns: int = 1_794_000_000_000_000_000,
) -> FileVersion:
    """Return one version of an image file: path, size in bytes and time of change."""
    return FileVersion(path, size, mtime_ns)


def planes_of(well: str, day: int, plate: str = PLATE) -> tuple[FileVersion, ...]:
    """Return the three plane files of a well on a culture day, named by the default pattern."""
    return tuple(file_version(f"{plate}/day{day:02d}/{well}_z{plane}.tif") for plane in (1, 2, 3))


def quality(**changes: Any) -> Quality:
    """Return the quality of a sharp image of three planes with tissue."""
    return Quality(
        **{
            "focus": (1.0, 2.5, 1.5),
            "sharpest_plane": 1,
            "saturated_fraction": 0.0,
            "tissue_fraction": 0.2,
            "border_fraction": 0.0,
        }
        | changes
    )


def well_image(
    well: str = "B02",
    day: int = 7,
    *,
    plate: str = PLATE,
    side_px: int = 64,
    seed: int = 0,
    **changes: Any,
) -> WellImage:
    """Return a complete well image of three planes of noise, (3, side, side) uint16."""
    planes = np.random.default_rng(seed).integers(0, 65536, (3, side_px, side_px), dtype=np.uint16)
    fields: dict[str, Any] = {
        "key": VisitKey(plate, well, f"day{day:02d}"),
        "day": day,
        "taken_at": SEEDED_AT + timedelta(days=day - 1, hours=6),
        "files": planes_of(well, day, plate),
        "planes": planes,
        "um_per_px": 1.36,
        "complete": True,
    }
    return WellImage(**fields | changes)


def observation(
    well: str = "B02",
    day: int = 7,
    *,
    plate: str = PLATE,
    visit: str | None = None,
    dimension: int = 8,
    seed: int = 0,
    **changes: Any,
) -> Observation:
    """Return a stored well image of a visit.

    Another ``seed`` gives another image of the same visit: another digest and embedding.
    """
    fields: dict[str, Any] = {
        "key": VisitKey(plate, well, visit or f"day{day:02d}"),
        "digest": f"{seed:064x}",
        "pixel_digest": f"{seed:064x}",
        "day": day,
        "taken_at": SEEDED_AT + timedelta(days=day - 1, hours=6),
        "received_at": NOW,
        "complete": True,
        "files": planes_of(well, day, plate),
        "um_per_px": 1.36,
        "file_scales": (FileScale(1.36, "OME-XML"),),
        "quality": quality(),
        "encoder_id": ENCODER_ID,
        "embedding": np.random.default_rng(seed).standard_normal(dimension).astype(np.float32),
        "measures": {"area_um2": 51234.5, "circularity": 0.87},
        "measured_by": MEASURED_BY,
    }
    return Observation(**fields | changes)


def observation_data(of: Observation, version: int = 1) -> ObservationData:
    """Return the message that announces an observation before dosing."""
    return ObservationData(
        plate=of.key.plate,
        well=of.key.well,
        day=of.day,
        visit=of.key.visit,
        version=version,
        taken_at=of.taken_at,
        received_at=of.received_at,
        um_per_px=of.um_per_px,
        complete=of.complete,
        encoder_id=of.encoder_id,
        measured_by=of.measured_by,
        quality=of.quality,
        flags=of.quality.flags,
        measures=of.measures,
        condition=Condition.INTACT,
        explosion_degree=0.0,
        departures=(),
    )


def rejected(
    *paths: str, reason: str = "0 bytes; expected an image", plate: str = PLATE, well: str = "B02"
) -> Rejected:
    """Return the record of rejected files."""
    return Rejected(
        tuple(file_version(path) for path in paths or ("PDAC-0042/day07/B02_z1.tif",)),
        reason,
        plate,
        well,
    )


def rejected_data(of: Rejected) -> RejectedData:
    """Return the message that announces rejected files."""
    return RejectedData(
        plate=of.plate,
        well=of.well,
        files=tuple(version.path for version in of.files),
        reason=of.reason,
    )


def status_data(**changes: Any) -> StatusData:
    """Return the status message of a running service without queued images."""
    fields: dict[str, Any] = {
        "state": ServiceState.RUNNING,
        "version": "0.1.0",
        "encoder_id": ENCODER_ID,
        "measured_by": MEASURED_BY,
        "started_at": NOW,
        "last_image_at": None,
        "backlog": 0,
        "rejected": 0,
        "plates": (PLATE,),
        "held": {},
        "source_gone": None,
    }
    return StatusData(**fields | changes)


def plate_map(plate: str = PLATE, **changes: Any) -> PlateMap:
    """Return the map of a plate with treatments in its inner 60 wells.

    20 wells are untreated, 4 have a single dose and 36 have 12 screening treatments.
    """
    entries = []
    for index, well in enumerate(INNER_60):
        if index < 20:
            entries.append(WellEntry(well=well, group=Group.UNTREATED))
        elif index < 24:
            entries.append(
                WellEntry(well=well, group=Group.SINGLE_DOSE, treatment="gemcitabine:1 uM")
            )
        else:
            entries.append(
                WellEntry(
                    well=well,
                    group=Group.SCREENING,
                    treatment=f"compound-{(index - 24) // 3 + 1}:100 nM",
                )
            )
    return PlateMap(
        **{"plate": plate, "seeded_at": SEEDED_AT, "um_per_px": 1.36, "entries": tuple(entries)}
        | changes
    )


def assay(plate: str = PLATE, **changes: float) -> Assay:
    """Return the viability of two wells of a plate in percent; ``changes`` are by well."""
    return Assay(plate=plate, viability_percent={"B02": 101.25, "D02": 12.5} | changes)


def calibration_card(**changes: Any) -> CalibrationCard:
    """Return the card of a calibration that was fitted to four plates."""
    fields: dict[str, Any] = {
        "digest": "d" * 64,
        "encoder_id": ENCODER_ID,
        "measured_by": MEASURED_BY,
        "representation": "measures",
        "model": "ridge",
        "plates": ("A-1", "A-2", "A-3", "A-4"),
        "wells": 8,
        "valid": True,
        "mean_error_points": 7.5,
        "untreated_error_points": 40.0,
        "spearman": 0.91,
        "worst_spearman": 0.85,
        "percent_low": -3.0,
        "percent_high": 99.0,
    }
    return CalibrationCard(**fields | changes)


def ranking(plate: str = PLATE, day: int = 10, revision: int = 1, **changes: Any) -> Ranking:
    """Return a final ranking of one treated and one untreated well."""
    dosed: dict[str, Any] = {
        "well": "D02",
        "group": Group.SINGLE_DOSE,
        "treatment": "gemcitabine:1 uM",
        "efficacy_rank": 1,
        "scale_position": 1,
        "score": 4.2,
    }
    untreated: dict[str, Any] = {
        "well": "B02",
        "group": Group.UNTREATED,
        "treatment": "",
        "efficacy_rank": None,
        "scale_position": None,
        "score": 0.1,
    }
    unknown: dict[str, Any] = {
        "condition": None,
        "deterioration_percent": None,
        "deterioration_low": None,
        "deterioration_high": None,
        "flags": (),
    }
    treatment = TreatmentRank(
        efficacy_rank=1,
        scale_position=1,
        treatment="gemcitabine:1 uM",
        group=Group.SINGLE_DOSE,
        wells=("D02",),
        score=4.2,
        score_low=3.1,
        score_high=5.3,
        rank_low=1,
        rank_high=1,
        p_value=0.001,
        q_value=0.001,
        verdict=Verdict.EFFECTIVE,
    )
    fields: dict[str, Any] = {
        "treatments": (treatment,),
        "wells": (WellRank(**dosed | unknown), WellRank(**untreated | unknown)),
        "scale": Scale(x=None, n=1),
        "quality": RankingQuality(
            gate=Gate.PASSED,
            reasons=(),
            z_prime=0.6,
            ssmd=3.4,
            edge_effect=None,
            row_effect=None,
            column_effect=None,
            left_out=(),
            missing_images=(),
        ),
        "notes": (),
        "plate": plate,
        "day": day,
        "revision": revision,
        "final": True,
        "replaces": revision - 1 or None,
        "created_at": NOW,
        "method": "departure",
        "representation": "embedding",
        "encoder_id": ENCODER_ID,
        "measured_by": MEASURED_BY,
        "code_version": "0.1.0",
        "config_digest": "c" * 64,
        "inputs_digest": "a" * 64,
        "specimen": None,
    }
    return Ranking(**fields | changes)


def ranking_data(of: Ranking) -> RankingData:
    """Return the message that announces a ranking."""
    return RankingData(**of.model_dump())


def specimen_ranking(revision: int = 1, **changes: Any) -> SpecimenRanking:
    """Return the ranking of a specimen: one treatment on two plates."""
    single = {
        "efficacy_rank": 1,
        "wells": ("D02",),
        "score": 4.2,
        "score_low": 3.1,
        "score_high": 5.3,
        "p_value": 0.001,
        "verdict": Verdict.EFFECTIVE,
    }
    treatment = SpecimenTreatment(
        efficacy_rank=1,
        scale_position=1,
        treatment="gemcitabine:1 uM",
        group=Group.SINGLE_DOSE,
        wells=2,
        score=4.4,
        score_low=3.3,
        score_high=5.5,
        rank_low=1,
        rank_high=1,
        p_value=0.0001,
        q_value=0.0001,
        verdict=Verdict.EFFECTIVE,
        agreement=Agreement.AGREE,
        heterogeneity_p=0.6,
        i_squared=0.0,
        plates=(
            OnPlate(plate=PLATE, **single),
            OnPlate(
                plate="PDAC-0043", **single | {"score": 4.9, "score_low": 3.8, "score_high": 6.0}
            ),
        ),
    )
    plates = [
        PlateOfSpecimen(
            plate=plate,
            day=10,
            revision=1,
            inputs_digest="a" * 64,
            left_out=None,
            gain=1.0,
            offset=offset,
            untreated_wells=18,
        )
        for plate, offset in ((PLATE, -0.1), ("PDAC-0043", 0.1))
    ]
    fields: dict[str, Any] = {
        "specimen": SPECIMEN,
        "revision": revision,
        "replaces": revision - 1 or None,
        "created_at": NOW,
        "code_version": "0.1.0",
        "config_digest": "c" * 64,
        "inputs_digest": "b" * 64,
        "method": "departure",
        "representation": "measures",
        "encoder_id": ENCODER_ID,
        "measured_by": MEASURED_BY,
        "between_plates": 0.2,
        "plates": tuple(plates),
        "treatments": (treatment,),
        "notes": (),
    }
    return SpecimenRanking(**fields | changes)


def specimen_data(of: SpecimenRanking) -> SpecimenData:
    """Return the message that announces the ranking of a specimen."""
    return SpecimenData(**of.model_dump())
