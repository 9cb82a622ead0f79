"""Values of the configuration with their checks: addresses, times, plates and limits."""

from datetime import time
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, FiniteFloat, ValidationInfo

from acquisition.microscope.settings import MicroscopeScaleFrom
from schemas.well import PLATE_SHAPES

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


def is_of_this_machine(url: str) -> bool:
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
HostPort = Annotated[str, AfterValidator(_host_port)]  # empty: none
TimeOfDay = Annotated[time | None, BeforeValidator(_time_of_day)]
Presenting = Annotated[
    Literal["always", "ready_file"] | tuple[str, ...], BeforeValidator(_presenting)
]
Preset = Annotated[str, AfterValidator(_channel)]  # GROUP:PRESET of Micro-Manager, or empty
ImageChannel = Annotated[str, BeforeValidator(_image_channel)]
ScaleSource = Annotated[MicroscopeScaleFrom | None, AfterValidator(_scale_source)]
StageLimits = Annotated[
    tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat] | Literal["unchecked"] | None,
    BeforeValidator(_stage_limits),
    AfterValidator(_ascending),
]
FocusLimits = Annotated[tuple[FiniteFloat, FiniteFloat] | None, AfterValidator(_ascending)]
