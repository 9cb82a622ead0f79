"""The settings of a microscope as plain values, and a check for the packages that drive it."""

from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path

from acquisition.channels import Channel, ContrastMethod, Illumination, Stand
from schemas.errors import ConfigError

ARCHIVE_PATTERN = "{plate}/day{day}/{well:aa00}_{taken_at}.ome.tif"
"""The file name pattern of the archive. A later visit of a well is a new file."""

PACKAGES = ("pymmcore_plus", "useq", "ome_types", "yaml")
"""The modules of the extra ``micromanager``."""


def check_installed() -> None:
    """Raise ConfigError if a package that drives the microscope is not installed."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ConfigError(
            "source.kind",
            f'"micromanager" needs {", ".join(missing)}, not found here; '
            'expected: pip install "spherorank[micromanager]"',
        )


class Focusing(StrEnum):
    """The method that brings tissue into focus."""

    AUTO = "auto"  # hardware if the configuration names an autofocus device, else software
    HARDWARE = "hardware"
    SOFTWARE = "software"  # the sharpest plane of a coarse scan
    OFF = "off"  # the height of the plate's focus map or surface, else ``focus_z_um``


class WellOrder(StrEnum):
    """The order in which the wells of a plate are visited, by the names of useq-schema."""

    ROW_WISE_SNAKE = "row_wise_snake"  # row by row, every other row backwards: the shortest way
    ROW_WISE = "row_wise"
    COLUMN_WISE_SNAKE = "column_wise_snake"
    COLUMN_WISE = "column_wise"


class MicroscopeScaleFrom(StrEnum):
    """Source of the scale if section and hardware configuration contradict each other."""

    FILE = "file"  # the pixel size of the MMConfig file
    SECTION = "section"  # um_per_px of the section


@dataclass(frozen=True)
class PlatePlacement:
    """The place of the plates of one format on the stage."""

    wells: int
    a1_um: tuple[float, float]  # stage x, y with the middle of well A1 under the objective
    spacing_um: float | None = None  # between neighbouring wells; None: standard for the plate
    rotation_deg: float = 0.0  # anticlockwise


class FieldsUse(StrEnum):
    """The image of a well that is ranked if a visit has several fields."""

    LARGEST_TISSUE = "largest_tissue"  # the field with the largest tissue
    MOSAIC = "mosaic"  # all fields, stitched by stage position


@dataclass(frozen=True)
class MicroscopeSettings:
    """A microscope and the position of plates on its stage.

    Stage coordinates are µm, as Micro-Manager shows them.
    """

    config: Path  # Micro-Manager's hardware configuration, an MMConfig file
    a1_um: tuple[float, float]  # stage x, y with the middle of well A1 under the objective
    adapters: Path | None = None  # folder of device adapters; None: pymmcore-plus finds it
    plate: int = 96  # number of wells
    spacing_um: float | None = None  # between neighbouring wells; None: standard for the plate
    rotation_deg: float = 0.0  # of the plate, anticlockwise
    plates: tuple[PlatePlacement, ...] = ()  # of other formats, for plates that name one
    well_order: WellOrder = WellOrder.ROW_WISE_SNAKE
    plan_wells: tuple[str, ...] = ()  # the wells of an imported plan, in its order
    channel: str = ""  # GROUP:PRESET, such as Channel:BF; empty: as the configuration starts
    exposure_ms: float = 10.0
    planes: int = 3
    plane_step_um: float = 45.0
    channels: tuple[Channel, ...] = ()  # besides bright field; saved, never ranked
    fields: tuple[int, int] = (1, 1)  # columns and rows of fields per well, around its middle
    fields_overlap: float = 0.1  # of neighbouring fields, as a share of the field
    fields_use: FieldsUse = FieldsUse.LARGEST_TISSUE
    contrast_method: ContrastMethod | None = None  # of bright field, for metadata; None: unknown
    illumination: Illumination | None = None  # of bright field, for metadata; None: unknown
    stand: Stand | None = None  # of the microscope, for metadata; None: unknown
    objective: str = ""  # for metadata, if no turret of the configuration names it; empty: unknown
    focusing: Focusing = Focusing.AUTO
    focus_z_um: float = 0.0  # expected focus height before any well of a plate is focused
    focus_range_um: float = 90.0  # of a focus scan, to either side
    wide_range_um: float = 200.0  # of a wide focus scan, to either side
    focus_step_um: float = 15.0
    autofocus_offset_um: float = 0.0  # from the height of the autofocus device up to the tissue
    stage_limits_um: tuple[float, float, float, float] | None = None  # x from, y from, x to, y to
    z_limits_um: tuple[float, float] | None = None  # lowest, highest
    um_per_px: float | None = None  # None: the pixel size of the hardware configuration
    um_per_px_from: MicroscopeScaleFrom | None = None  # None: a contradiction is an error
    timeout_s: float = 30.0  # of one device call, besides the exposure
    settle_ms: float = 20.0  # pause after each move of the stage or focus drive
    # Compare pictures: stop without a sample or a lamp, image again after lost steps.
    check_pictures: bool = True
    home_stage: bool = False  # home the stage after lost steps; it may drive a long way
    tries: int = 3  # maximum number of attempts to image one well on one day
    backoff_s: float = 2.0  # pause after a failure, times the number of consecutive failures
    stall_s: float = 120.0  # beyond the expected time of a step; then the watchdog ends the process

    @property
    def longest_step_s(self) -> float:
        """The longest expected time in seconds of one step of a device."""
        exposures_ms = (self.exposure_ms, *(each.exposure_ms for each in self.channels))
        return max(self.timeout_s, max(exposures_ms) / 1000)
