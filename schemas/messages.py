"""Messages that the service publishes: their topics and the data of their CloudEvents."""

from datetime import datetime
from enum import StrEnum
from typing import Literal

from schemas.frozen_model import FrozenModel
from schemas.quality import Flag, Quality
from schemas.ranking import FOR_RESEARCH_USE_ONLY, Condition, Ranking
from schemas.specimen import SpecimenRanking
from schemas.tissue import Unsure

TOPIC_PREFIX = "spherorank.v1"
"""First part of every topic; ``v1`` is the version of the message format."""


class DayDeparture(FrozenModel):
    """Departure of one well on one culture day, in untreated standard deviations."""

    day: int
    """Culture day."""
    departure: float | None
    """Distance from the expected untreated state; null while too few untreated wells have an image
    of that day, and if the image of the well was refused.
    """


class ObservationData(FrozenModel):
    """A well image was embedded and stored.

    After dosing, the message also contains the departure of the well on every imaged day.
    """

    plate: str
    """Plate id."""
    well: str
    """Name of the well."""
    day: int
    """Culture day; day 1 is the day of seeding."""
    visit: str
    """Identifier of the visit, such as ``day07``."""
    run: int = 1
    """Number of the use of the plate id, from 1; 0 if the image is outside the run of its plate."""
    version: int
    """Version of this visit, from 1; a repeated or completed visit is a new version."""
    taken_at: datetime | None
    """Time at which the image was taken; null if it is neither in the file name nor in the file."""
    received_at: datetime
    """Time at which the service received the image, by its own clock."""
    um_per_px: float | None
    """Scale in µm per pixel; null if unknown."""
    complete: bool
    """True if every expected focal plane was present."""
    encoder_id: str
    """Name and digest of the encoder bundle."""
    measured_by: str | None = None
    """Segmenter and version of the measures, such as ``classical-4+measures-1``, and the stain
    bundle if there is one; measures by different methods must not be compared. Null in messages of
    earlier versions of SpheroRank.
    """
    quality: Quality
    """Quality measurements of the image."""
    flags: tuple[Flag, ...]
    """Reasons to inspect the image."""
    unsure: tuple[Unsure, ...] = ()
    """Reasons to doubt the outline of the tissue."""
    measures: dict[str, float]
    """Measures of the tissue; each name contains its unit. Empty if the image was refused because
    no background is in view.
    """
    condition: Condition | None
    """Condition of the tissue in this image alone; null for an empty well, and for a refused image.
    """
    explosion_degree: float | None
    """Degree of explosion: 0 = intact, larger = tissue spread further or in more pieces; null for
    an empty well and for a refused image.
    """
    departures: tuple[DayDeparture, ...]
    """Departure of the well on each imaged day; empty before dosing."""


class RejectedData(FrozenModel):
    """A file or image was rejected."""

    plate: str
    """Plate id; empty if the file name does not contain it."""
    well: str
    """Name of the well; empty if the file name does not contain it."""
    files: tuple[str, ...]
    """Paths of the rejected files, relative to the drop folder."""
    reason: str
    """Reason for the rejection: the value that was found and the value that was expected."""


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
    PAUSED = "paused"
    """An operator has paused the imaging."""
    RESTARTING = "restarting"
    """The process has ended and starts again after a pause."""


class MicroscopeData(FrozenModel):
    """State of the microscope that the service controls."""

    state: MicroscopeState
    """Current state of the imaging process."""
    plate: str | None = None
    """Plate that is being imaged."""
    day: int | None = None
    """Culture day of that plate."""
    wells_saved: int | None = None
    """Number of wells of this day or request that have an image; null if no plate is imaged."""
    wells_total: int | None = None
    """Number of wells of this day or request; null if no plate is imaged."""
    remaining_s: float | None = None
    """Estimated time until the last well is imaged, in seconds; null if unknown."""
    paused_since: datetime | None = None
    """Time at which an operator paused the imaging; null if it is not paused."""


class AlertKind(StrEnum):
    """Subject of an alert."""

    DISK = "disk"
    SOURCE_GONE = "source_gone"
    IMAGES_MISSING = "images_missing"
    IMAGE = "image"
    """A file cannot be read now, or ends the process that reads it."""
    RANKING = "ranking"
    """A plate cannot be ranked because of an unexpected error."""
    QUALITY_GATE = "quality_gate"
    PLATE_MAP = "plate_map"
    """A plate map is missing or wrong, starts or corrects a run, or contradicts an image's time."""
    LAYOUT = "layout"
    SCALE_DISAGREES = "scale_disagrees"
    MEASURES = "measures"
    """Images of a plate were measured by different methods, so their measures are not compared."""
    ASSAY = "assay"
    MICROSCOPE = "microscope"
    DELIVERY = "delivery"
    """A subscriber of `publisher.must_ack` has not acknowledged a final ranking in time."""
    MESSAGING = "messaging"
    """The process that publishes messages and answers requests ended; it is started again."""
    CLOCK = "clock"
    """The clock of this computer has jumped, or no time service keeps it right."""
    NOTIFY = "notify"
    """A channel to people fails, or the process that notifies people does not run."""


class StandingAlert(FrozenModel):
    """An alert that was raised and whose cause still exists."""

    kind: AlertKind
    """Subject of the alert."""
    plate: str | None
    """Plate of the alert; null if it is about the service."""
    message: str
    """Description of the problem."""
    since: datetime
    """Time at which the alert was raised."""
    blocks: bool = False
    """True if the service cannot do its work until the cause is removed."""


class StatusData(FrozenModel):
    """Periodic status of the service, which is also its first and its last message."""

    state: ServiceState
    """State of the service."""
    version: str
    """Version of SpheroRank."""
    encoder_id: str
    """Name and digest of the encoder bundle."""
    measured_by: str | None = None
    """Segmenter and version of the measures of new images; null from earlier versions of
    SpheroRank.
    """
    started_at: datetime
    """Start time of the service."""
    last_image_at: datetime | None
    """Time of the last stored image."""
    backlog: int
    """Number of well images that were found but not ingested yet."""
    rejected: int
    """Number of rejected files."""
    plates: tuple[str, ...]
    """Plates that have a plate map and are not closed: a ranking may still follow."""
    closed_plates: int = 0
    """Number of plates whose last ranking is final and that need no more work."""
    held: dict[str, str]
    """For each plate with pending images, the reason why they are pending."""
    source_gone: str | None
    """Reason why the drop folder cannot be read; null if it can be read."""
    microscope: MicroscopeData | None = None
    """State of the microscope; null if the service controls no microscope."""
    alerts: tuple[StandingAlert, ...] = ()
    """Newest standing alerts, those that block the service first."""
    standing_alerts: int = 0
    """Number of all standing alerts."""


class AcquisitionStep(StrEnum):
    """Step in the imaging of a plate."""

    STARTED = "started"
    """The imaging of a day, or of the wells of a request, started or continues after a restart."""
    WELL_SAVED = "well_saved"
    WELL_FAILED = "well_failed"
    """One attempt failed; the well is tried again after the other wells."""
    WELL_REPEATED = "well_repeated"
    """The image of a well may show another place, does not count, and is taken again."""
    PAUSED = "paused"
    """An operator paused the imaging; the lamp is off. Sent again after a restart."""
    RESUMED = "resumed"
    ABORTED = "aborted"
    """An operator ended the day or request before its last well."""
    HALTED = "halted"
    """A fault of the whole plate, such as a dark lamp, stopped the imaging."""
    DONE = "done"
    """Every well was imaged or given up."""


class AcquisitionData(FrozenModel):
    """Progress of the microscope that the service controls."""

    step: AcquisitionStep
    """Step that was taken."""
    plate: str | None = None
    """Plate id; null if the imaging was paused or resumed while no plate was imaged."""
    day: int | None = None
    """Culture day; null without a plate."""
    reason: str | None = None
    """Reason for the imaging: `due` by the schedule, `asked` by an operator, or the cause of an
    imaging request; null without a plate.
    """
    wells_saved: int | None = None
    """Number of wells of this day or request that have an image; null without a plate."""
    wells_total: int | None = None
    """Number of wells of this day or request; null without a plate."""
    remaining_s: float | None = None
    """Estimated time until the last well is imaged, in seconds; null until a well was imaged."""
    well: str | None = None
    """Well that was saved, failed or is repeated; null for other steps."""
    file: str | None = None
    """Path of the saved image on the computer of the microscope; null for other steps."""
    z_um: float | None = None
    """Height of the middle plane in µm; null for other steps."""
    focus_found: bool | None = None
    """False if no focus was found, so that the well was imaged at the predicted height; null for
    other steps, and if the focus is not searched.
    """
    problem: str | None = None
    """Problem of a well that failed or is repeated, or that stopped the imaging; null for other
    steps.
    """
    given_up: tuple[str, ...] = ()
    """Wells without an image after the last attempt, for the step `done`."""
    paused_since: datetime | None = None
    """Start of the pause, for the steps `paused` and `resumed`; null for other steps."""


class AlertData(FrozenModel):
    """A problem that needs the attention of a person."""

    kind: AlertKind
    """Subject of the alert."""
    plate: str | None
    """Plate of the alert; null if it is about the service."""
    message: str
    """Description of the problem."""
    notice: str = FOR_RESEARCH_USE_ONLY
    """Notice that SpheroRank is for research use only."""


MessageData = (
    ObservationData
    | RejectedData
    | RankingData
    | SpecimenData
    | AcquisitionData
    | StatusData
    | AlertData
)
"""Data of any message."""
MessageKind = Literal[
    "observation", "rejected", "ranking", "specimen", "acquisition", "status", "alert"
]
"""Kind of a message: the third part of its topic."""


_KINDS: tuple[tuple[type[FrozenModel], MessageKind], ...] = (
    (ObservationData, "observation"),
    (RejectedData, "rejected"),
    (RankingData, "ranking"),
    (SpecimenData, "specimen"),
    (AcquisitionData, "acquisition"),
    (StatusData, "status"),
    (AlertData, "alert"),
)


def kind_of(data: MessageData) -> MessageKind:
    """Return the kind of a message, the third part of its topic."""
    return next(kind for model, kind in _KINDS if isinstance(data, model))


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

    The topics of status and alert end after the kind.
    """
    kind = kind_of(data)
    if isinstance(data, StatusData | AlertData):
        return f"{TOPIC_PREFIX}.{kind}"
    return topic_about(kind, subject_of(data) or "_")


def topic_about(kind: str, subject: str) -> str:
    """Return the topic of the messages of a kind about a plate or specimen.

    Topics are ASCII: blanks and other characters of a name are replaced by ``_``; the body contains
    the unchanged name.
    """
    name = "".join(
        character if character.isascii() and character.isprintable() and character != " " else "_"
        for character in subject
    )
    return f"{TOPIC_PREFIX}.{kind}.{name}"
