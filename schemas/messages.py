"""Messages that the service publishes: their topics and the data of their CloudEvents."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from schemas.frozen_model import FrozenModel
from schemas.quality import Flag, Quality
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Condition, Ranking
from schemas.specimen import SpecimenRanking

TOPIC_PREFIX = "spherorank.v1"
"""First part of every topic; ``v1`` is the version of the message format."""


class DayDeparture(FrozenModel):
    """Departure of one well on one culture day, in untreated standard deviations."""

    day: int
    """Culture day."""
    departure: float | None
    """Distance from the expected untreated state; null while too few untreated wells have an image
    of that day.
    """


class ObservationData(FrozenModel):
    """A well image was embedded and stored.

    After dosing, the message also contains the departure of the well on every imaged day.
    """

    plate: str
    well: str
    day: int
    """Culture day; day 1 is the day of seeding."""
    visit: str
    """Identifier of the visit, such as ``day07``."""
    run: int = 1
    """Number of the use of the plate id, from 1; 0 if the image is outside the run of its plate."""
    version: int
    """Version of this visit, from 1; a repeated or completed visit is a new version."""
    taken_at: datetime | None
    """Time of the microscope, where the name or file contains it."""
    received_at: datetime
    """Time of this service's clock."""
    um_per_px: float | None
    """Scale in µm per pixel; null if unknown."""
    complete: bool
    """True if every expected focal plane was present."""
    encoder_id: str
    """Digest of the encoder bundle."""
    quality: Quality
    """Quality measurements of the image."""
    flags: tuple[Flag, ...]
    """Reasons to inspect the image."""
    measures: dict[str, float]
    """Measures of the tissue; each name contains its unit."""
    condition: Condition | None
    """Condition of the tissue; null for an empty well."""
    explosion_degree: float | None
    """0 = intact; larger = tissue spread further; null for an empty well."""
    departures: tuple[DayDeparture, ...]
    """Departure of the well on each imaged day; empty before dosing."""


class RejectedData(FrozenModel):
    """A file or image was rejected."""

    plate: str
    """Plate id; empty where the name does not contain it."""
    well: str
    """Name of the well; empty where the file name does not contain it."""
    files: tuple[str, ...]
    """Paths relative to the drop folder."""
    reason: str
    """Value found and expected value."""


class RankingData(Ranking):
    """Provisional or final ranking of a plate, with the same fields as its JSON file."""


class SpecimenData(SpecimenRanking):
    """Ranking of a specimen from the final rankings of its plates; same fields as its JSON file."""


class ServiceState(StrEnum):
    """State in the life cycle of the service."""

    ONLINE = "online"
    RUNNING = "running"
    STOPPING = "stopping"


class MicroscopeState(StrEnum):
    """State of the imaging process."""

    STARTING = "starting"
    IDLE = "idle"
    IMAGING = "imaging"
    RESTARTING = "restarting"
    """The process has ended and starts again after a pause."""


class MicroscopeData(FrozenModel):
    """State of the microscope that the service controls."""

    state: MicroscopeState
    """State of the imaging process."""
    plate: str | None = None
    """Plate that is being imaged."""
    day: int | None = None
    """Culture day of that plate."""


class StatusData(FrozenModel):
    """Periodic status of the service; also its first and last message."""

    state: ServiceState
    """State of the service."""
    version: str
    """Version of SpheroRank."""
    encoder_id: str
    """Digest of the encoder bundle."""
    started_at: datetime
    """Start time of the service."""
    last_image_at: datetime | None
    """Time of the last stored image."""
    backlog: int
    """Number of well images that were found and not yet ingested."""
    rejected: int
    """Number of rejected files."""
    plates: tuple[str, ...]
    """Plates that have a plate map."""
    held: dict[str, str]
    """Reason why the images of a plate are pending, by plate."""
    source_gone: str | None
    """Reason why the drop folder cannot be read; null while it can."""
    microscope: MicroscopeData | None = None
    """State of the microscope; null where the service controls none."""


class AlertKind(StrEnum):
    """Subject of an alert."""

    DISK = "disk"
    SOURCE_GONE = "source_gone"
    IMAGES_MISSING = "images_missing"
    QUALITY_GATE = "quality_gate"
    PLATE_MAP = "plate_map"
    """A plate map is missing or wrong, starts or corrects a run, or contradicts an image's time."""
    LAYOUT = "layout"
    ASSAY = "assay"
    MICROSCOPE = "microscope"


class AlertData(FrozenModel):
    """A problem that needs the attention of a person."""

    kind: AlertKind
    """Subject of the alert."""
    plate: str | None
    """Plate of the alert; null if it is about the service."""
    message: str
    """Description of the problem."""
    notice: str = FOR_RESEARCH_USE_ONLY


MessageData = ObservationData | RejectedData | RankingData | SpecimenData | StatusData | AlertData
"""Data of any message."""
MessageKind = Literal["observation", "rejected", "ranking", "specimen", "status", "alert"]
"""Kind of a message: the third part of its topic."""


def kind_of(data: MessageData) -> MessageKind:
    """Return the kind of a message, the third part of its topic."""
    match data:
        case ObservationData():
            return "observation"
        case RejectedData():
            return "rejected"
        case RankingData():
            return "ranking"
        case SpecimenData():
            return "specimen"
        case StatusData():
            return "status"
        case AlertData():
            return "alert"


def subject_of(data: MessageData) -> str | None:
    """Return the plate or specimen of a message, or None if the message has none."""
    match data:
        case SpecimenData():
            return data.specimen
        case StatusData():
            return None
        case _:
            return data.plate


def topic_of(data: MessageData) -> str:
    """Return the topic of a message: ``spherorank.v1.<kind>[.<plate or specimen>]``.

    The topics of status and alert end after the kind. Topics are ASCII: blanks and other characters
    of a name are replaced by ``_``; the body contains the unchanged name.
    """
    kind = kind_of(data)
    if isinstance(data, StatusData | AlertData):
        return f"{TOPIC_PREFIX}.{kind}"
    subject = "".join(
        character if character.isascii() and character.isprintable() and character != " " else "_"
        for character in subject_of(data) or "_"
    )
    return f"{TOPIC_PREFIX}.{kind}.{subject}"
