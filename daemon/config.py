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
from pathlib import Path, PurePath
from typing import Any

from pydantic import (
    BaseModel,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from acquisition.channels import Channel
from acquisition.microscope.settings import MicroscopeSettings, PlatePlacement
from daemon.config_sections import (
    EncoderSection,
    HealthSection,
    MicromanagerSection,
    NotifySection,
    OutputSection,
    PublisherSection,
    RankingSection,
    RetentionSection,
    SourceSection,
    StainSection,
    StoreSection,
    TissueSection,
)
from daemon.config_values import UNCHECKED
from schemas.errors import ConfigError

_PREFIX = "SPHERORANK_"
_BACKSLASHES = (
    "a backslash in double quotation marks begins an escape code; expected a path with / or in "
    "single quotation marks, such as 'C:\\robot\\drop'"
)


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
