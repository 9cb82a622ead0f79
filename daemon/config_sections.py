"""Sections of the configuration file, with the keys, their limits and their defaults."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationInfo,
    field_validator,
    model_validator,
)

from acquisition.channels import (
    Channel,
    ContrastMethod,
    Illumination,
    Stand,
    name_problem,
)
from acquisition.microscope.settings import (
    ARCHIVE_PATTERN,
    FieldsUse,
    Focusing,
    MicroscopeSettings,
    PlatePlacement,
    WellOrder,
)
from daemon.config_values import (
    Days,
    Endpoint,
    FocusLimits,
    HostPort,
    ImageChannel,
    Micrometres,
    Patience,
    Presenting,
    Preset,
    ScaleSource,
    Seconds,
    StageLimits,
    StandardPlate,
    TimeOfDay,
    is_of_this_machine,
)
from inference.tissue.condition import ConditionSettings
from schemas.calibration import MethodChoice
from schemas.forecast import ForecastFrom, MetricName
from schemas.plate_map import PlateId
from schemas.requests import SUBSCRIBER_NAME
from schemas.trajectory import Representation


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlateSection(_Section):
    """The place of plates of one format on the stage, as ``acquire calibrate`` prints it."""

    wells: StandardPlate
    a1_um: tuple[FiniteFloat, FiniteFloat]
    spacing_um: Micrometres | None = None
    rotation_deg: float = Field(default=PlatePlacement.rotation_deg, ge=-180, le=180)


def _one_place_each(
    plates: tuple[PlateSection, ...], info: ValidationInfo
) -> tuple[PlateSection, ...]:
    """Return the places of plates if no format has two, counting that of the section itself."""
    formats = [each.wells for each in plates]
    formats += [info.data["plate"]] if "plate" in info.data else []
    if repeated := sorted({each for each in formats if formats.count(each) > 1}):
        raise ValueError(f"one place for {repeated[0]} wells (the key plate is one, too)")
    return plates


class MicromanagerSection(_Section):
    """Settings of a microscope that SpheroRank drives, and of its schedule.

    Stage coordinates are in µm, as Micro-Manager shows them. ``docs/reference/microscope.md``
    explains each key.
    """

    config: Path = Field(description="the hardware configuration, an MMConfig file")
    a1_um: tuple[FiniteFloat, FiniteFloat] = Field(
        description="[x, y] of the stage with the middle of A1 under the objective"
    )
    adapters: Path | None = None  # Micro-Manager's folder; None: found by pymmcore-plus
    state: Path = Path("microscope")  # folder of imaging requests, journals and focus heights
    plate: StandardPlate = MicroscopeSettings.plate
    spacing_um: Micrometres | None = None  # None: the standard spacing of this plate format
    rotation_deg: float = Field(default=MicroscopeSettings.rotation_deg, ge=-180, le=180)
    # The places of plates of other formats, which plate_wells in a plate.toml names.
    plates: Annotated[tuple[PlateSection, ...], AfterValidator(_one_place_each)] = ()
    well_order: WellOrder = MicroscopeSettings.well_order
    # An MDASequence or WellPlatePlan of useq-schema (YAML or JSON) in place of these settings.
    plan: Path | None = None
    channel: Preset = MicroscopeSettings.channel
    exposure_ms: float = Field(default=MicroscopeSettings.exposure_ms, gt=0, le=60_000)
    plane_step_um: Micrometres = MicroscopeSettings.plane_step_um
    # Channels besides bright field, as [[source.micromanager.channels]].
    channels: tuple[Channel, ...] = MicroscopeSettings.channels
    fields: tuple[Annotated[int, Field(ge=1, le=20)], Annotated[int, Field(ge=1, le=20)]] = (
        MicroscopeSettings.fields
    )
    fields_overlap: float = Field(default=MicroscopeSettings.fields_overlap, ge=0.02, le=0.5)
    fields_use: FieldsUse = MicroscopeSettings.fields_use
    contrast_method: ContrastMethod | None = None  # these four are for metadata; unset: unknown
    illumination: Illumination | None = None
    stand: Stand | None = None
    objective: str = Field(default=MicroscopeSettings.objective, max_length=200)
    focusing: Focusing = MicroscopeSettings.focusing
    focus_z_um: FiniteFloat = MicroscopeSettings.focus_z_um
    focus_range_um: Micrometres = MicroscopeSettings.focus_range_um
    wide_range_um: Micrometres = MicroscopeSettings.wide_range_um
    focus_step_um: Micrometres = MicroscopeSettings.focus_step_um
    autofocus_offset_um: float = Field(
        default=MicroscopeSettings.autofocus_offset_um, ge=-1e4, le=1e4, allow_inf_nan=False
    )
    # "unchecked": no position is checked before a move. None: ``check`` reports that this is so.
    stage_limits_um: StageLimits = None
    z_limits_um: FocusLimits = None
    um_per_px: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    # The scale that is used if um_per_px and the hardware configuration contradict each other.
    um_per_px_from: ScaleSource = None
    timeout_s: Patience = MicroscopeSettings.timeout_s
    settle_ms: float = Field(default=MicroscopeSettings.settle_ms, ge=0, le=10_000)
    # Compare pictures: stop without a sample or a lamp, image again after lost steps.
    check_pictures: bool = MicroscopeSettings.check_pictures
    home_stage: bool = MicroscopeSettings.home_stage  # after lost steps
    tries: int = Field(default=MicroscopeSettings.tries, ge=1, le=100)
    backoff_s: Seconds = MicroscopeSettings.backoff_s
    stall_s: Patience = MicroscopeSettings.stall_s
    # None: plates are imaged only on request.
    acquire_at: TimeOfDay = None
    # None: every culture day up to the readout day.
    acquire_days: tuple[Annotated[int, Field(ge=1, le=1000)], ...] | None = None
    present: Presenting = "always"
    present_timeout_s: Patience = 600.0
    # A plate stays this long after its last well, so that requests for its wells can arrive.
    linger_s: Seconds = 20.0
    # Largest number of wells of undecided treatments that are imaged again each day.
    most_uncertain: int = Field(default=0, ge=0, le=1536)
    # Free space that stays on the disk of the archive, besides the images of a day.
    keep_free_bytes: int = Field(default=1_000_000_000, ge=0)

    @field_validator("channels")
    @classmethod
    def _channels_can_be_told_apart(
        cls, channels: tuple[Channel, ...], info: ValidationInfo
    ) -> tuple[Channel, ...]:
        if problem := name_problem(channels):
            raise ValueError(problem)
        if channels and not info.data.get("channel"):
            raise ValueError(
                "no other channel while source.micromanager.channel is empty: "
                "only a preset of bright field ends the preset of another channel"
            )
        return channels


class SourceSection(_Section):
    """Settings of the source of well images."""

    kind: Literal["drop_folder", "micromanager"] = "drop_folder"
    path: Path = Path("drop")
    pattern: str = "{plate}/day{day}/{well}_z{plane}.tif"
    plate: PlateId | None = None  # the plate id, if neither pattern nor folder contains it
    # The only field of view that is ingested; None: the lowest one of each well.
    field: int | None = Field(default=None, ge=0)
    planes: int = Field(default=3, ge=1, le=200)
    # Name or number of the bright-field channel, if the names have several channels.
    channel: ImageChannel = ""
    # Bits per pixel in 16-bit files; None: estimated from the maximum of each file.
    bits: int | None = Field(default=None, ge=8, le=16)
    settle_s: Seconds = 2.0
    poll_s: float = Field(default=5.0, gt=0, le=3600)
    plane_timeout_s: Seconds = 60.0
    max_pixels: int = Field(default=100_000_000, ge=4096)  # per plane
    max_file_bytes: int = Field(default=2_000_000_000, ge=1024)
    micromanager: MicromanagerSection | None = Field(default=None, validate_default=True)

    @model_validator(mode="before")
    @classmethod
    def _archive_has_its_pattern(cls, given: Any) -> Any:  # noqa: ANN401 - any TOML value; pydantic checks it next
        return (
            {"pattern": ARCHIVE_PATTERN, **given}
            if isinstance(given, dict) and given.get("kind") == "micromanager"
            else given
        )

    @field_validator("pattern")
    @classmethod
    def _pattern_fits_kind(cls, pattern: str, info: ValidationInfo) -> str:
        if info.data.get("kind") == "micromanager" and pattern != ARCHIVE_PATTERN:
            raise ValueError(f'"{ARCHIVE_PATTERN}", or no such key, with kind = "micromanager"')
        return pattern

    @field_validator("micromanager")
    @classmethod
    def _microscope_is_set(
        cls, section: MicromanagerSection | None, info: ValidationInfo
    ) -> MicromanagerSection | None:
        if info.data.get("kind") == "micromanager" and section is None:
            raise ValueError(
                'a table [source.micromanager] with config and a1_um, with kind = "micromanager"'
            )
        return section


class EncoderSection(_Section):
    """Settings of the encoder, which computes the embedding of a well image."""

    bundle: str = "default"
    providers: Literal["auto", "cuda", "cpu"] = "auto"
    # Images that are processed at the same time; 0: one for each processor core. For each of them,
    # up to three images are in memory, besides three that are read in advance.
    workers: int = Field(default=0, ge=0, le=64)
    threads: int = Field(default=1, ge=1, le=64)  # of the encoder, for one image
    # The processing of one image takes a tenth of a second. A longer one ends the process, and the
    # next start examines the image.
    timeout_s: Patience = 300.0


class StoreSection(_Section):
    """Address of the database."""

    url: str = "sqlite:///spherorank.sqlite"  # without a password
    # File of mode 0600 with the password of PostgreSQL, instead of the credential store.password.
    password_file: Path | None = None


class RankingSection(_Section):
    """Settings of the ranking: method, forecast, and time limits."""

    method: MethodChoice = "auto"  # departure; deterioration once it is calibrated
    representation: Representation = "both"
    # ridge, kernel, drift, persistence, mean, or a folder with forecaster.onnx and forecaster.json
    forecaster: str = "ridge"
    forecast_from: ForecastFrom = ForecastFrom.DOSING
    metric: MetricName = MetricName.MAHALANOBIS
    leave_out_unlike: bool = True  # pre-dose outliers take no part in the ranking
    readout_deadline_h: float = Field(default=6, ge=0, le=240)
    # A ranked day is corrected when no image of its plate has arrived for this long.
    correction_quiet_s: Seconds = 30.0
    # Seed of bootstrap and permutations: the same inputs give the same ranking.
    seed: int = Field(default=1, ge=0)


class TissueSection(_Section):
    """Settings of the segmenter and of the limits between intact and exploded tissue.

    ``docs/reference/measures.md`` defines the limits.
    """

    # "classical", "learned", or a folder with segmenter.onnx and segmenter.json
    segmenter: str = "classical"
    open_directions: float = Field(default=ConditionSettings.open_directions, ge=0, le=1)
    spilled: float = Field(default=ConditionSettings.spilled, ge=0, le=100)


class StainSection(_Section):
    """Settings of the predicted stain, whose predictions are features of deterioration."""

    # Folder with stain.onnx and stain.json; without it, no stain is predicted.
    bundle: Path | None = None


class PublisherSection(_Section):
    """Settings of the sockets to which subscribers connect."""

    # Encryption, and a list of clients that may connect; needed for other computers.
    curve: bool = False
    keys: Path = Path("keys")
    events: Endpoint = "tcp://127.0.0.1:5556"
    requests: Endpoint = "tcp://127.0.0.1:5557"
    # Names of the subscribers that have to acknowledge final rankings, and their time for it.
    must_ack: tuple[Annotated[str, Field(pattern=SUBSCRIBER_NAME)], ...] = ()
    ack_within_h: float = Field(default=12.0, gt=0, le=24 * 365)
    # Name of the service; each service has its own series of sequence numbers.
    service: str = Field(default="spherorank", pattern=r"^[A-Za-z0-9._-]{1,64}$")
    heartbeat_s: float = Field(default=5.0, gt=0, le=3600)
    # Without progress of the main loop for this long, heartbeat and watchdog calls stop.
    stall_s: float = Field(default=60.0, gt=0, le=3600)

    @field_validator("events", "requests")
    @classmethod
    def _check_reach(cls, url: str, info: ValidationInfo) -> str:
        """Refuse an address that other computers can reach, unless clients need a key."""
        if not (info.data.get("curve", True) or is_of_this_machine(url)):
            raise ValueError(
                "an address of this machine only, such as tcp://127.0.0.1:5556 or ipc:///path; "
                "or publisher.curve = true, since other computers can connect to this address"
            )
        return url


class OutputSection(_Section):
    """Folders to which the service writes rankings and logs."""

    rankings: Path = Path("rankings")
    logs: Path = Path("logs")
    log_days: Days = 90  # daily log files are kept this long
    # Less free space on the disk of the store or of the rankings raises an alert.
    min_free_bytes: int = Field(default=1_000_000_000, ge=0)


class RetentionSection(_Section):
    """Days after the last ranking of a closed plate for which its data are kept.

    Data without a number of days are kept for ever. Observations, embeddings, rankings and their
    files are always kept.
    """

    messages_days: Days | None = None  # messages about images, and alerts
    pictures_days: Days | None = None  # pictures of the reports
    images_days: Days | None = None  # image files that the microscope of this service saved


class HealthSection(_Section):
    """Address of the HTTP page for monitoring (health and metrics)."""

    http: HostPort = "127.0.0.1:9464"


class NotifySection(_Section):
    """Settings of the process that notifies people of alerts and rankings."""

    urls: tuple[str, ...] = ()  # apprise URLs without passwords and tokens
    # File of mode 0600 with further apprise URLs, one a line, or the credential notify.urls.
    urls_file: Path | None = None
    # After a notification, further events of this time are sent together.
    interval_s: float = Field(default=300.0, ge=0, le=86_400)
    # Folder of the state file, which the process writes and the service reads.
    state: Path = Path("notify")

    @property
    def is_configured(self) -> bool:
        """True if there is a channel, so that the process is expected to run."""
        return bool(self.urls) or self.urls_file is not None

    @property
    def state_file(self) -> Path:
        """The file with the state of the channels."""
        return self.state / "state.json"
