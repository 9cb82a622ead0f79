"""Choose the plate format of one plate: the number of its wells and their places on the stage."""

from dataclasses import replace

from acquisition.microscope.settings import MicroscopeSettings
from schemas.errors import ConfigError, PlateMapError
from schemas.plate_map import PlateMap
from schemas.well import PLATE_SHAPES, plate_shape

_SECTION = "source.micromanager"


def settings_for_plate(settings: MicroscopeSettings, plate_map: PlateMap) -> MicroscopeSettings:
    """Return the settings of the microscope with the format and place of one plate.

    The format is ``plate_wells`` of the plate map, else ``plate`` of the section. Another format
    than that of the section has its place in the list ``plates`` of the section.

    Raises
    ------
    PlateMapError
        If the section's plate has 384 or 1536 wells, and the map names no format and fits a
        smaller plate. A map of 96 wells would be imaged at the wells of a 384-well plate.
    ConfigError
        If the section has no place for the format of the plate map.
    """
    wells = plate_map.plate_wells
    if wells is None:
        _check_size_of_map(settings, plate_map)
        return settings
    if wells == settings.plate:
        return settings
    if settings.plan_wells:
        raise ConfigError(
            f"{_SECTION}.plan",
            f"is for {settings.plate} wells, and plate_wells of plate {plate_map.plate} is "
            f"{wells}; expected a plan of the same format",
        )
    placement = next((each for each in settings.plates if each.wells == wells), None)
    if placement is None:
        known = ", ".join(
            str(each) for each in (settings.plate, *(p.wells for p in settings.plates))
        )
        raise ConfigError(
            f"{_SECTION}.plates",
            f"has no place for {wells} wells (places are known for {known}), which plate_wells of "
            f"plate {plate_map.plate} needs; expected an entry with wells = {wells} and a1_um, as "
            "spherorank acquire calibrate prints it",
        )
    return replace(
        settings,
        plate=placement.wells,
        a1_um=placement.a1_um,
        spacing_um=placement.spacing_um,
        rotation_deg=placement.rotation_deg,
    )


def _check_size_of_map(settings: MicroscopeSettings, plate_map: PlateMap) -> None:
    """Raise PlateMapError if a map without a format fits a smaller plate than the section's."""
    rows, columns = plate_shape([entry.well for entry in plate_map.entries])
    if rows * columns < settings.plate:
        raise PlateMapError(
            f"{plate_map.plate}.plate.toml",
            f"its wells fit a plate of {rows * columns} wells, and {_SECTION}.plate is "
            f"{settings.plate}; expected plate_wells = {settings.plate} or another of "
            f"{', '.join(map(str, PLATE_SHAPES))}",
        )
