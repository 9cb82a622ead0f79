"""What is published: topics, and the data each message carries inside a CloudEvents 1.0 event."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from schemas.frozen_model import FrozenModel
from schemas.quality import Flag, Quality
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Condition, Ranking
from schemas.specimen import SpecimenRanking

TOPIC_PREFIX = "spherorank.v1"


class DayDeparture(FrozenModel):
    """How far a well was, on one day, from what it would have become untreated, in untreated spreads."""

    day: int
    departure: float | None
    """null while too few untreated wells have an image of that day"""


class ObservationData(FrozenModel):
    """A well image was embedded and stored; after dosing with the well's departure on every day seen."""

    plate: str
    well: str
    day: int
    """culture day; day 1 is the day of seeding"""
    visit: str
    """which imaging of the well this is, such as ``day07``"""
    version: int
    """of this visit, from 1: a repeated or completed visit is a new version"""
    taken_at: datetime | None
    """by the microscope, where the name or file tells"""
    received_at: datetime
    """by this service's clock"""
    um_per_px: float | None
    complete: bool
    """every expected focal plane was there"""
    encoder_id: str
    """digest of the encoder bundle"""
    quality: Quality
    flags: tuple[Flag, ...]
    """reasons to look twice at the image"""
    measures: dict[str, float]
    """what was measured of the tissue, each name with its unit"""
    condition: Condition | None
    """null for an empty well"""
    explosion_degree: float | None
    """0 = held together, larger = the further the tissue has spread; null for an empty well"""
    departures: tuple[DayDeparture, ...]
    """the well's way so far, one entry a day seen; empty before dosing"""


class RejectedData(FrozenModel):
    """A file or image was refused."""

    plate: str
    """empty where the name does not tell"""
    well: str
    """empty where the name does not tell"""
    files: tuple[str, ...]
    """relative to the drop folder"""
    reason: str


class RankingData(Ranking):
    """A ranking, provisional or final: the same fields as its JSON file."""


class SpecimenData(SpecimenRanking):
    """A ranking of a specimen, from the final rankings of its plates: the same fields as its JSON file."""


class ServiceState(StrEnum):
    """Where the service is in its life."""

    ONLINE = "online"
    RUNNING = "running"
    STOPPING = "stopping"


class MicroscopeState(StrEnum):
    """What the microscope's process does."""

    STARTING = "starting"
    IDLE = "idle"
    IMAGING = "imaging"
    RESTARTING = "restarting"  # it ended, and is started again after a pause


class MicroscopeData(FrozenModel):
    """The microscope that the service drives."""

    state: MicroscopeState
    plate: str | None = None
    """that is being imaged"""
    day: int | None = None
    """culture day of it"""


class StatusData(FrozenModel):
    """The heartbeat, and the first and last word of a service."""

    state: ServiceState
    version: str
    encoder_id: str
    started_at: datetime
    last_image_at: datetime | None
    backlog: int
    """well images seen and not yet taken"""
    rejected: int
    """files refused so far"""
    plates: tuple[str, ...]
    """plates that have a map"""
    held: dict[str, str]
    """plate: why its images wait"""
    source_gone: str | None
    """why the drop folder cannot be read; null while it can"""
    microscope: MicroscopeData | None = None
    """null where the service drives none"""


class AlertKind(StrEnum):
    """What a person should look at."""

    DISK = "disk"
    SOURCE_GONE = "source_gone"
    IMAGES_MISSING = "images_missing"
    QUALITY_GATE = "quality_gate"
    PLATE_MAP = "plate_map"
    LAYOUT = "layout"
    ASSAY = "assay"
    MICROSCOPE = "microscope"


class AlertData(FrozenModel):
    """A person should look."""

    kind: AlertKind
    plate: str | None
    message: str
    notice: str = FOR_RESEARCH_USE_ONLY


MessageData = ObservationData | RejectedData | RankingData | SpecimenData | StatusData | AlertData
MessageKind = Literal["observation", "rejected", "ranking", "specimen", "status", "alert"]


def kind_of(data: MessageData) -> MessageKind:
    """Return the kind of a message: the third word of its topic."""
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
    """Return the plate or specimen that a message is about."""
    match data:
        case SpecimenData():
            return data.specimen
        case StatusData():
            return None
        case _:
            return data.plate


def topic_of(data: MessageData) -> str:
    """Return the topic, ``spherorank.v1.<kind>[.<plate or specimen>]``; status and alert name neither.

    A topic is ASCII: any other character of a name, and blanks, become ``_`` there (the body has the name as it is).
    """
    kind = kind_of(data)
    if isinstance(data, StatusData | AlertData):
        return f"{TOPIC_PREFIX}.{kind}"
    subject = "".join(
        character if character.isascii() and character.isprintable() and character != " " else "_"
        for character in subject_of(data) or "_"
    )
    return f"{TOPIC_PREFIX}.{kind}.{subject}"
