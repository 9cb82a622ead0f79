"""Report of the scale of each plate and its source, for ``spherorank check``."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from acquisition.drop_folder.culture_days import find_day
from acquisition.drop_folder.image_reading import read_scale
from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.naming import compile_pattern, is_image_name
from acquisition.drop_folder.plate_folders import PlateFolders
from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.drop_folder.source import DropFolderSettings
from acquisition.drop_folder.visits import visit_name
from daemon.config import load_config
from daemon.wiring.source import source_settings
from inference.departure.scales import scale_problems
from schemas.errors import ConfigError, ImageError, SourceGoneError
from schemas.plate_map import PlateMap
from schemas.scale import FileScale, decide_scale, format_scale
from schemas.well_image import FileVersion, VisitKey


@dataclass(frozen=True)
class _Sample:
    """One image file of a culture day, with the scale that it would be measured with."""

    key: VisitKey
    day: int
    path: str
    um_per_px: float | None
    source: str
    file_scales: tuple[FileScale, ...]


def describe_scales(path: Path | None) -> list[str]:
    """Return lines with the scale of each plate, its source and its contradictions.

    The metadata of one file of each culture day are read. The list is empty if the configuration or
    the folder has a problem, which ``find_start_problems`` returns.

    Parameters
    ----------
    path
        The configuration file; None for the default settings.
    """
    try:
        settings = source_settings(load_config(path))
        found = read_plate_maps(settings.path)
        maps = {plate: each for plate, each in found.items() if isinstance(each, PlateMap)}
        samples = _sample_files(settings, maps)
    except (ConfigError, SourceGoneError):
        return []
    return [line for plate in sorted(maps) for line in _describe(maps[plate], samples[plate])]


def _sample_files(
    settings: DropFolderSettings, maps: dict[str, PlateMap]
) -> dict[str, list[_Sample]]:
    """Return one file of each culture day of each plate with a map, the first by path."""
    root, pattern = settings.path, compile_pattern(settings.pattern)
    folders = PlateFolders(pattern, root.name, settings.plate, maps, {})
    samples: dict[str, dict[int, _Sample]] = {plate: {} for plate in maps}
    for version in sorted(
        file for file in list_files(root, outside={}) if is_image_name(file.path)
    ):
        try:
            name = pattern.parse(version.path)
            plate_map = maps.get(folders.plate_of(version.path, name))
            if plate_map is None:
                continue
            # Without a day in the name, the time of change is precise enough to choose a file.
            day = find_day(name, lambda: None, version.mtime_ns, plate_map).day
        except ImageError:
            continue  # the service refuses it with the reason
        key = VisitKey(plate_map.plate, name.well, visit_name(name, day))
        if day >= 1 and day not in samples[plate_map.plate]:
            samples[plate_map.plate][day] = _sample(root, version, key, day, plate_map)
    return {plate: [by_day[day] for day in sorted(by_day)] for plate, by_day in samples.items()}


def _sample(
    root: Path, version: FileVersion, key: VisitKey, day: int, plate_map: PlateMap
) -> _Sample:
    """Read the scale of one file, and return it with the scale that the plate map decides."""
    scale = read_scale(root / version.path)
    scales = (scale,) if scale else ()
    decided = decide_scale(plate_map, scales)
    return _Sample(key, day, version.path, decided.um_per_px, decided.source, scales)


def _describe(plate_map: PlateMap, samples: list[_Sample]) -> Iterator[str]:
    """Yield the scale of a plate, the scale of one file of each day, and the contradictions."""
    used = {format_scale(each.um_per_px, each.source) for each in samples}
    if not samples:
        used = {format_scale(decide_scale(plate_map, ()).um_per_px, "plate map")}
    yield f"plate {plate_map.plate}: {', '.join(sorted(used))}"
    for each in samples:
        own = each.file_scales[0] if each.file_scales else "no scale in the file"
        yield f"  day {each.day}: {own}, {each.path}"
    sentences = {each.sentence for each in scale_problems(samples, plate_map).values()}
    for sentence in sorted(sentences):
        yield f"  scale_disagrees: {sentence}"
