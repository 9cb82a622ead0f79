"""Find and read the fluorescence images of the wells of a plate."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from acquisition.drop_folder.image_decoding import ImageLimits, decode
from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.naming import NamePattern, compile_pattern, is_image_name
from acquisition.drop_folder.pixels.grey import Plane
from daemon.fluorescence.settings import FluorescenceSettings, Stain
from inference.fluorescence.stain_signal import looks_like_bright_field
from schemas.arrays import Float64Array
from schemas.errors import ConfigError, ImageError
from schemas.plate_map import PlateMap


@dataclass
class FoundImages:
    """The image files of a folder, by well and stain, and the files that are not used."""

    files: dict[str, dict[Stain, list[Path]]]  # of the wells of the map, planes in order
    refused: list[ImageError] = field(default_factory=list)
    other_channels: dict[str, int] = field(default_factory=dict)  # number of files by channel


def find_images(folder: Path, settings: FluorescenceSettings, plate_map: PlateMap) -> FoundImages:
    """Return the images below a folder for the stains of settings and the wells of a plate map.

    Raises
    ------
    ConfigError
        If the pattern has no ``{channel}``, or no file is an image of a stain.
    SourceGoneError
        If the folder cannot be listed.
    """
    pattern = compile_pattern(settings.pattern)
    if "channel" not in pattern.fields:
        raise ConfigError(
            "pattern", f"is {settings.pattern!r}; expected {{channel}}, which names the stain"
        )
    stain_of = {each.channel: stain for stain, each in settings.stains.items()}
    found = FoundImages({})
    planes: defaultdict[tuple[str, Stain], dict[int, Path]] = defaultdict(dict)
    for relative in sorted(version.path for version in list_files(folder, outside={})):
        if not is_image_name(relative):
            continue
        try:
            well, channel, plane = _parse(pattern, relative, plate_map)
        except ImageError as error:
            found.refused.append(error)
            continue
        if (stain := stain_of.get(channel)) is None:
            found.other_channels[channel] = found.other_channels.get(channel, 0) + 1
        elif (other := planes[well, stain].get(plane)) is not None:
            found.refused.append(
                ImageError(relative, f"is a second image of {well} {stain}, beside {other.name}")
            )
        else:
            planes[well, stain][plane] = folder / relative
    for (well, stain), files in planes.items():
        found.files.setdefault(well, {})[stain] = [files[number] for number in sorted(files)]
    if not found.files:
        channels = ", ".join(sorted(found.other_channels)) or "none"
        refused = f"; {found.refused[0]}" if found.refused else ""
        raise ConfigError(
            folder,
            f"has no image of a stain; channels in its file names: {channels}; expected "
            f"{', '.join(stain_of)}{refused}",
        )
    return found


def _parse(pattern: NamePattern, path: str, plate_map: PlateMap) -> tuple[str, str, int]:
    """Return (well, channel, plane) in the name of a file; the plane is 0 without one.

    Raises
    ------
    ImageError
        If the name does not fit the pattern, or its well is not in the plate map.
    """
    name = pattern.parse(path)
    if name.channel is None:
        raise ImageError(path, "its name has no channel; expected one")
    if name.well not in plate_map.by_well:
        raise ImageError(
            path,
            f"well {name.well} is not in the map of plate {plate_map.plate}; expected one of its "
            f"{len(plate_map.by_well)} wells",
        )
    return name.well, name.channel, name.plane or 0


def read_planes(files: Sequence[Path]) -> tuple[Float64Array, str]:
    """Return (planes (Z, H, W), kind) of the files of one well and stain, in counts of the camera.

    Counts are not rescaled, so that the intensities of wells can be compared. The kind is a text
    with the number, size and type of the planes; images of different kinds cannot be compared.

    Raises
    ------
    ImageError
        If a file is not a grey image, its planes differ in size, or it looks like bright field.
    """
    planes = list(_decoded(files))
    kinds = sorted({f"{plane.shape[1]}×{plane.shape[0]} {plane.dtype}" for plane in planes})
    if len(kinds) > 1:
        raise ImageError(
            files[0], f"its planes are {' and '.join(kinds)}; expected one size and type"
        )
    stack = np.stack(planes).astype(np.float64)
    if looks_like_bright_field(stack.mean(axis=0)):
        raise ImageError(
            files[0],
            "its background is brighter than its tissue, as in bright field; expected a "
            "fluorescence image",
        )
    return stack, f"planes: {len(planes)} of {kinds[0]}"


def _decoded(files: Sequence[Path]) -> Iterator[Plane]:
    """Yield the planes of image files in counts of the camera."""
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise ImageError(path, f"cannot be read: {error.strerror}") from error
        yield from decode(content, path, ImageLimits()).planes
