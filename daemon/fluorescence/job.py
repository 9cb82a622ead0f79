"""Quantify the fluorescence images of a plate: read the files, and write assay, table and page."""

from collections.abc import Mapping
from pathlib import Path

from acquisition.drop_folder.plate_map_files import plate_by_name, read_plate_maps
from daemon.fluorescence.output import OutputFiles, draw_overlay
from daemon.fluorescence.quantification import PlateResult, quantify_plate
from daemon.fluorescence.settings import Stain, load_settings
from inference.fluorescence.stain_signal import StainSignal
from schemas.errors import PlateMapError, ProfileError
from schemas.plate_map import PlateMap

MIN_ASSAYED = 2
"""Smallest number of wells of an assay file."""


def quantify(folder: Path, toml: Path, settings_file: Path, out: Path) -> PlateResult:
    """Quantify the images below a folder; write the assay, the table and the page into ``out``.

    Parameters
    ----------
    folder
        Folder of the images.
    toml
        The ``plate.toml`` of the plate.
    settings_file
        TOML file with the settings of the stains.
    out
        Folder for the files; they must not exist.

    Raises
    ------
    ConfigError
        If a setting is wrong, or no file is an image of a stain.
    PlateMapError
        If the plate map is missing or wrong.
    ProfileError
        If the plate has no usable stain or too few usable wells.
    OutputError
        If a file exists or cannot be written.
    """
    settings = load_settings(settings_file)
    plate_map = _read_map(toml)
    output = OutputFiles(out, plate_map.plate)
    overlays: dict[str, bytes] = {}

    def keep_overlay(well: str, signals: Mapping[Stain, StainSignal]) -> None:
        overlays[well] = draw_overlay(signals)

    result = quantify_plate(folder, settings, plate_map, keep_overlay)
    if len(result.assayed) < MIN_ASSAYED:
        raise ProfileError(
            plate_map.plate,
            f"{len(result.assayed)} wells have a viability; expected at least {MIN_ASSAYED}",
        )
    output.write(result, settings, overlays)
    return result


def _read_map(toml: Path) -> PlateMap:
    """Return the plate map of a ``plate.toml``; raise PlateMapError if it is missing or wrong."""
    if not toml.is_file():
        raise PlateMapError(toml, "does not exist; expected the plate.toml of the plate")
    name = plate_by_name(toml.parent, toml.name, "plate.toml")
    found = read_plate_maps(toml.parent).get(name)
    if isinstance(found, PlateMap):
        return found
    raise found or PlateMapError(toml, "is not a plate map; expected plate.toml and wells.csv")
