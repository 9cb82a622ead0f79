"""The configuration of SpheroRank: a TOML file, overridden by environment variables.

The command line reads it once; all other parts receive plain values. Only this module reads
``os.environ``.
"""

import hashlib
import os
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import time
from ipaddress import ip_address
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
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
    MicroscopeScaleFrom,
    MicroscopeSettings,
    PlatePlacement,
    WellOrder,
)
from inference.tissue.condition import ConditionSettings
from schemas.calibration import MethodChoice
from schemas.errors import ConfigError
from schemas.forecast import ForecastFrom, MetricName
from schemas.plate_map import PlateId
from schemas.requests import SUBSCRIBER_NAME
from schemas.trajectory import Representation
from schemas.well import PLATE_SHAPES

_PREFIX = "SPHERORANK_"
_BACKSLASHES = (
    "a backslash in double quotation marks begins an escape code; expected a path with / or in "
    "single quotation marks, such as 'C:\\robot\\drop'"
)
UNCHECKED = "unchecked"
"""The value of ``stage_limits_um`` for a stage whose positions are not checked."""


def _endpoint(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme == "ipc" and (parts.netloc or parts.path):
        return url
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme != "tcp" or not parts.hostname or port is None:
        raise ValueError("tcp://host:port or ipc:///path")
    return url


def _is_of_this_machine(url: str) -> bool:
    """Return whether only this machine can connect to an endpoint."""
    parts = urlsplit(url)
    if parts.scheme == "ipc" or parts.hostname == "localhost":
        return True
    try:
        return ip_address(parts.hostname or "").is_loopback
    except ValueError:  # *, a name or a network interface
        return False


def _host_port(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text and (not host or not port.isdigit() or int(port) > 65535):  # noqa: PLR2004 - the largest port
        raise ValueError("host:port, or an empty text to switch it off")
    return text


def _time_of_day(value: object) -> object:
    """Return a time of day without time zone from a time or text, or None for an empty text.

    A number is refused, since pydantic would read it as seconds.
    """
    if value == "":
        return None
    if isinstance(value, str):
        value = time.fromisoformat(value)
    if not isinstance(value, time) or value.tzinfo is not None:
        raise ValueError('a time of day, such as "10:00", or an empty text')
    return value


def _presenting(value: object) -> object:
    if value in ("always", "ready_file") or (
        isinstance(value, list | tuple) and value and all(isinstance(word, str) for word in value)
    ):
        return value
    raise ValueError('"always", "ready_file", or a command as a list of words')


def _channel(text: str) -> str:
    group, _, preset = text.partition(":")
    if text and not (group and preset):
        raise ValueError('"GROUP:PRESET" as the configuration file names them, or an empty text')
    return text


def _image_channel(value: object) -> object:
    """Return a channel as text; a number may be written without quotation marks."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _plate(wells: int) -> int:
    if wells not in PLATE_SHAPES:
        raise ValueError(f"one of {', '.join(map(str, PLATE_SHAPES))}")
    return wells


def _scale_source(source: MicroscopeScaleFrom | None, info: ValidationInfo) -> object:
    """Return the source of the scale if the section has the scale that it decides for."""
    if source is MicroscopeScaleFrom.SECTION and info.data.get("um_per_px") is None:
        raise ValueError('the key um_per_px too, with "section"')
    return source


def _stage_limits(limits: object) -> object:
    """Return limits or the word for none; another text is refused with both."""
    if isinstance(limits, str) and limits != UNCHECKED:
        raise ValueError(f'[x from, y from, x to, y to] of the stage in µm, or "{UNCHECKED}"')
    return limits


def _ascending(limits: tuple[float, ...] | str | None) -> tuple[float, ...] | str | None:
    """Return limits, all lower ones first, if each lower limit is below its upper limit."""
    if isinstance(limits, tuple) and any(
        low >= high
        for low, high in zip(limits[: len(limits) // 2], limits[len(limits) // 2 :], strict=True)
    ):
        raise ValueError("lower limits first, then upper ones that are larger")
    return limits


Endpoint = Annotated[str, AfterValidator(_endpoint)]
Seconds = Annotated[float, Field(ge=0, le=86_400, allow_inf_nan=False)]
Patience = Annotated[float, Field(gt=0, le=86_400, allow_inf_nan=False)]  # a time limit, in s
StandardPlate = Annotated[int, AfterValidator(_plate)]  # number of wells
Days = Annotated[int, Field(ge=1, le=36_500)]
Micrometres = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


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
    channel: Annotated[str, AfterValidator(_channel)] = MicroscopeSettings.channel
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
    stage_limits_um: Annotated[
        tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | Literal["unchecked"] | None,
        BeforeValidator(_stage_limits),
        AfterValidator(_ascending),
    ] = None
    z_limits_um: Annotated[tuple[FiniteFloat, FiniteFloat] | None, AfterValidator(_ascending)] = (
        None
    )
    um_per_px: float | None = Field(default=None, gt=0, le=1000, allow_inf_nan=False)
    # The scale that is used if um_per_px and the hardware configuration contradict each other.
    um_per_px_from: Annotated[MicroscopeScaleFrom | None, AfterValidator(_scale_source)] = None
    timeout_s: Patience = MicroscopeSettings.timeout_s
    settle_ms: float = Field(default=MicroscopeSettings.settle_ms, ge=0, le=10_000)
    # Compare pictures: stop without a sample or a lamp, image again after lost steps.
    check_pictures: bool = MicroscopeSettings.check_pictures
    home_stage: bool = MicroscopeSettings.home_stage  # after lost steps
    tries: int = Field(default=MicroscopeSettings.tries, ge=1, le=100)
    backoff_s: Seconds = MicroscopeSettings.backoff_s
    stall_s: Patience = MicroscopeSettings.stall_s
    # None: plates are imaged only on request.
    acquire_at: Annotated[time | None, BeforeValidator(_time_of_day)] = None
    # None: every culture day up to the readout day.
    acquire_days: tuple[Annotated[int, Field(ge=1, le=1000)], ...] | None = None
    present: Annotated[
        Literal["always", "ready_file"] | tuple[str, ...], BeforeValidator(_presenting)
    ] = "always"
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
    channel: Annotated[str, BeforeValidator(_image_channel)] = ""
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
        if not (info.data.get("curve", True) or _is_of_this_machine(url)):
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

    http: Annotated[str, AfterValidator(_host_port)] = "127.0.0.1:9464"


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


class Config(BaseSettings):
    """All settings with their defaults.

    :func:`load_config` returns relative paths as absolute paths in the folder of the configuration
    file.
    """

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=_PREFIX, env_nested_delimiter="__"
    )

    source: SourceSection = SourceSection()
    encoder: EncoderSection = EncoderSection()
    store: StoreSection = StoreSection()
    ranking: RankingSection = RankingSection()
    tissue: TissueSection = TissueSection()
    stain: StainSection = StainSection()
    publisher: PublisherSection = PublisherSection()
    output: OutputSection = OutputSection()
    health: HealthSection = HealthSection()
    retention: RetentionSection = RetentionSection()
    notify: NotifySection = NotifySection()

    @field_validator("retention")
    @classmethod
    def _images_are_of_the_service(
        cls, section: RetentionSection, info: ValidationInfo
    ) -> RetentionSection:
        source = info.data.get("source")
        if section.images_days is not None and source and source.kind == "drop_folder":
            raise ValueError(
                'no key images_days with source.kind = "drop_folder": the robot owns these images'
            )
        return section

    @property
    def digest(self) -> str:
        """SHA-256 over the settings that a ranking depends on.

        The channel is left out while it is not set, as in earlier versions. The segmenter and
        the stain bundle are left out, because the measures of an image name them.
        """
        of_source = {"planes", "bits", "field"} | ({"channel"} if self.source.channel else set())
        return hashlib.sha256(
            (
                self.source.model_dump_json(include=of_source)
                + self.ranking.model_dump_json()
                + self.tissue.model_copy(update={"segmenter": "classical"}).model_dump_json()
            ).encode()
        ).hexdigest()


def load_config(path: Path | None) -> Config:
    """Return the Config of a TOML file (None: defaults) after applying environment variables.

    Parameters
    ----------
    path
        The TOML file; None uses the defaults and the environment, with paths in the working folder.

    Raises
    ------
    ConfigError
        If any setting is wrong. The error lists all problems, each with the file or variable, the
        key, the value found and the value expected.
    """
    base = Path.cwd() if path is None else path.absolute().parent
    if path is not None:
        _check_toml(path)

    class FileConfig(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            # Settings come from the file and the environment only.
            del init_settings, dotenv_settings, file_secret_settings
            return (
                (env_settings,)
                if path is None
                else (env_settings, TomlConfigSettingsSource(settings_cls, path))
            )

    problems = _unknown_variables()
    try:
        config = FileConfig()
    except ValidationError as error:
        problems += [_describe(problem, path) for problem in error.errors()]
    except SettingsError as error:
        problems.append(
            (
                "environment",
                f"{error}: {error.__cause__}; expected JSON in a variable that holds a list",
            )
        )
    if problems:
        raise ConfigError(*problems[0], more=tuple(problems[1:]))
    return _anchored(config, base)


def _check_toml(path: Path) -> None:
    text = ""
    try:
        text = path.read_bytes().decode()
        content = tomllib.loads(text)
    except FileNotFoundError as error:
        raise ConfigError(
            path,
            "does not exist; expected a TOML file (deploy/spherorank.example.toml shows every key)",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path, f"cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        hint = f"; {_BACKSLASHES}" if "\\" in text else ""
        raise ConfigError(path, f"is not TOML: {error}{hint}") from error
    except RecursionError as error:
        raise ConfigError(path, "has thousands of nested brackets; expected a TOML file") from error
    for value in _texts(content):
        if (wrong := next((each for each in value if ord(each) < 32), None)) is not None:  # noqa: PLR2004 - the first character that is no control code
            raise ConfigError(
                path, f"has the control code U+{ord(wrong):04X} in {value!r}; {_BACKSLASHES}"
            )


def _texts(value: object) -> Iterator[str]:
    """Yield each text in a value of a TOML file."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _texts(each)


def _unknown_variables() -> list[tuple[str, str]]:
    sections = ", ".join(f"{_PREFIX}{name.upper()}__…" for name in Config.model_fields)
    return [
        (f"environment variable {name}", f"is unknown; expected one of {sections}")
        for name in sorted(os.environ)
        if name.upper().startswith(_PREFIX)
        and "__" in name
        and name.upper().removeprefix(_PREFIX).split("__")[0].lower() not in Config.model_fields
    ]


def _describe(problem: Any, path: Path | None) -> tuple[str, str]:  # noqa: ANN401 - a TypedDict of pydantic_core
    location = [str(part) for part in problem["loc"]]
    variable = _PREFIX + "__".join(location).upper()
    where = (
        f"environment variable {variable}"
        if variable in {name.upper() for name in os.environ}
        else f"{path}, key {'.'.join(location)}"
    )
    model = _model_of(location)
    if problem["type"] == "extra_forbidden":
        expected = f"expected one of {', '.join(model.model_fields)}"
        return where, f"is unknown; {expected}"
    if problem["type"] == "missing":
        key = next(part for part in reversed(location) if part in model.model_fields)
        return where, f"is missing; expected {model.model_fields[key].description}"
    expected = str(problem["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    # A wrong value of these sections may hold a password.
    is_secret = location[0] in ("store", "notify")
    found = "a wrong value" if is_secret else repr(problem["input"])
    return where, f"is {found}; expected {expected}"


def _model_of(location: list[str]) -> type[BaseModel]:
    """Return the settings class that contains a key, given as its path of tables."""
    match location:
        case ["source", "micromanager", "channels", _, _, *_]:
            return Channel
        case ["source", "micromanager", _, *_]:
            return MicromanagerSection
        case [section, _, *_] if section in Config.model_fields:
            return type(Config.model_fields[section].default)
    return Config


def _anchored(config: Config, base: Path) -> Config:
    """Return a configuration with each relative path made absolute from the folder ``base``."""
    source: dict[str, Any] = {"path": base / config.source.path.expanduser()}
    if microscope := config.source.micromanager:
        named = {"config": microscope.config, "state": microscope.state} | (
            {"adapters": microscope.adapters} if microscope.adapters else {}
        )
        named |= {"plan": microscope.plan} if microscope.plan else {}
        source["micromanager"] = microscope.model_copy(
            update={key: base / path.expanduser() for key, path in named.items()}
        )
    password_file = config.store.password_file
    return config.model_copy(
        update={
            "source": config.source.model_copy(update=source),
            "store": StoreSection(
                url=anchored_url(config.store.url, base),
                password_file=password_file and base / password_file.expanduser(),
            ),
            "stain": StainSection(
                bundle=config.stain.bundle and base / config.stain.bundle.expanduser()
            ),
            "publisher": config.publisher.model_copy(
                update={"keys": base / config.publisher.keys.expanduser()}
            ),
            "notify": config.notify.model_copy(
                update={
                    "urls_file": config.notify.urls_file
                    and base / config.notify.urls_file.expanduser(),
                    "state": base / config.notify.state.expanduser(),
                }
            ),
            "output": config.output.model_copy(
                update={
                    "rankings": base / config.output.rankings.expanduser(),
                    "logs": base / config.output.logs.expanduser(),
                }
            ),
        }
    )


def anchored_url(url: str, base: PurePath) -> str:
    """Return the URL of a database with a relative path of a SQLite file in the folder ``base``.

    On Windows the path may have a drive letter, such as ``sqlite:///C:/data/spherorank.sqlite``.
    """
    path = url.removeprefix("sqlite:///")
    if path in (url, "") or path.startswith("/"):
        return url
    return f"sqlite:///{(base / path).as_posix()}"


def microscope_settings(config: Config) -> MicroscopeSettings:
    """Return the settings of the microscope from the configuration.

    This function is not in :mod:`daemon.wiring`, because that package loads inference libraries,
    which must not share a process with camera drivers.

    Raises
    ------
    ConfigError
        If the configuration has no microscope, its ``plan`` cannot be carried out, or this is
        Windows.
    """
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        raise ConfigError(
            "source.kind",
            f'is "{config.source.kind}"; expected "micromanager" and a table [source.micromanager]',
        )
    if sys.platform == "win32":
        raise ConfigError(
            "source.kind",
            'is "micromanager", which works on Linux only; expected "drop_folder" on Windows',
        )
    named = {
        field.name: getattr(section, field.name)
        for field in fields(MicroscopeSettings)
        if field.name in MicromanagerSection.model_fields
    }
    named["plates"] = tuple(PlatePlacement(**dict(each)) for each in section.plates)
    if section.stage_limits_um == UNCHECKED:
        named["stage_limits_um"] = None
    settings = MicroscopeSettings(planes=config.source.planes, **named)
    if section.plan is None:
        return settings
    from acquisition.microscope import useq_plans  # noqa: PLC0415 - needs the extra micromanager

    given = {*section.model_fields_set, "planes"}
    return useq_plans.settings_of_plan(settings, useq_plans.read_plan(section.plan), given)


def systemd_socket() -> str | None:
    """Return the address of systemd's notification socket, or None without systemd."""
    return os.environ.get("NOTIFY_SOCKET")


def journal_stream() -> str | None:
    """Return ``device:inode`` of the socket of systemd's journal, or None without systemd."""
    return os.environ.get("JOURNAL_STREAM")


def credentials_folder() -> Path | None:
    """Return the folder of the credentials that systemd passes, or None."""
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    return Path(folder) if folder else None


def keep_micromanager_log_off() -> None:
    """Keep pymmcore-plus from opening its log file in the home directory when it is imported.

    Its import fails if it cannot write there. A file that the operator has set is kept. The value
    ``0``, which its documentation names for this purpose, has no effect in version 0.17.
    """
    os.environ.setdefault("PYMM_LOG_FILE", os.devnull)
