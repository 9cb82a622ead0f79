"""Crops of real well images: from an archive folder, or from the plates of a service's store.

Nothing is written into the archive folder. An unusable image is logged and left out.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt
import structlog

from acquisition.drop_folder.culture_days import find_day
from acquisition.drop_folder.image_decoding import ImageLimits, RawImage
from acquisition.drop_folder.image_reading import FileResult, read_time, read_versions, stretch
from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.naming import NamePattern, ParsedName, compile_pattern, is_image_name
from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.drop_folder.selection import channel_problem, select_channel
from acquisition.drop_folder.settling import ListedFile
from acquisition.drop_folder.visits import (
    FileGroup,
    NamedFile,
    VisitFile,
    group_by_visit,
    select_field,
)
from inference.bundle import load_bundle
from inference.departure.assembly import select_images
from schemas.assay import Assay
from schemas.errors import ConfigError, ImageError, MachineError
from schemas.plate_map import PlateMap, ScaleFrom
from schemas.well_image import FileVersion
from store.sql_store import SqlStore
from training.data.crops import (
    Cropping,
    LeftOutImage,
    PlateCrops,
    PlateNote,
    ReadingNotes,
    WellCrop,
    crop_folder,
    crop_well_image,
    open_crops,
    write_crops,
)
from training.data.viability import add_viability, find_assays
from training.progress import show_progress

log = structlog.get_logger()

MIN_GREY_VALUES = 8
"""A file with fewer grey values is a mask or a label image, not a photograph."""


@dataclass(frozen=True)
class Archive:
    """A folder of real images, and the facts that file names and metadata do not give."""

    folder: Path
    pattern: str | None = None  # None: each file is one image, and each folder one plate
    bits: int | None = None  # bits of a uint16 pixel; None: by the maximum of each image
    field: int | None = None  # number of the field to use; None: the lowest of each well
    um_per_px: float | None = None  # used if neither plate map nor file gives a scale
    channel: str = ""  # name or number of the channel to use; empty: the names have one only
    assays: bool = False  # whether the viability assays of the plates are read


@dataclass(frozen=True)
class _Shot:
    """The files and the plate-map entry of one well image that has not been read yet.

    The text of these objects decides the name of the crop folder, and so the random augmentations
    of stored features: a renamed class or field changes both.
    """

    well: str
    day: int  # culture day; 0 if unknown
    group: str  # "" if unknown
    treatment: str  # "" if unknown or none
    um_per_px: float | None  # from the plate map
    files: tuple[FileVersion, ...]
    one_plane: bool  # whether each file is one plane, because the pattern has a plane field


@dataclass(frozen=True)
class _Plates:
    """The plate maps and the assays of an archive, by name of the plate."""

    maps: Mapping[str, PlateMap] = field(default_factory=dict)
    assays: Mapping[str, Assay] = field(default_factory=dict)


RecordLeftOut = Callable[[LeftOutImage], None]
"""Called with each image that is not used, also if its plate was read by an earlier command."""


def ignore_left_out(_image: LeftOutImage) -> None:
    """Do nothing with an image that is not used."""


def crop_archive(
    archive: Archive, cache: Path, cropping: Cropping, record: RecordLeftOut = ignore_left_out
) -> Iterator[PlateCrops]:
    """Yield the PlateCrops of each plate below an archive's folder; a plate is read only once.

    A plate without a usable image is left out.

    Parameters
    ----------
    record
        Called with each image that is not used.

    Raises
    ------
    ConfigError
        If the folder does not exist or the pattern is invalid.
    """
    if not archive.folder.is_dir():
        raise ConfigError(archive.folder, "is not a folder; expected a folder with images")
    versions = [
        version for version in sorted(list_files(archive.folder)) if is_image_name(version.path)
    ]
    if archive.pattern is None:
        shots: dict[str, list[_Shot]] = defaultdict(list)
        for version in versions:
            path = PurePosixPath(version.path)
            plate = str(PurePosixPath(archive.folder.resolve().name) / path.parent)
            shots[plate].append(_Shot(path.stem, 0, "", "", None, (version,), one_plane=False))
        yield from _write_all_crops(archive, shots, _Plates(), cache, cropping, record)
        return
    pattern = compile_pattern(archive.pattern)
    maps = _plate_maps(archive.folder)
    named = _named_shots(archive, pattern, versions, maps, record)
    assays = find_assays(archive.folder) if archive.assays else {}
    yield from _write_all_crops(archive, named, _Plates(maps, assays), cache, cropping, record)


def crop_stored_images(
    url: str,
    archive: Archive,
    cache: Path,
    cropping: Cropping,
    encoder: str,
    record: RecordLeftOut = ignore_left_out,
) -> Iterator[PlateCrops]:
    """Yield the PlateCrops of each plate of a store (URL), read from the archive's drop folder.

    Only the selected version of each image is used, as in the rankings of the encoder.

    Parameters
    ----------
    record
        Called with each image that is not used.

    Raises
    ------
    ConfigError
        If the store, the folder or the encoder does not exist.
    """
    database = Path(url.removeprefix("sqlite:///"))
    if url.startswith("sqlite:///") and not database.is_file():
        raise ConfigError("store", f"is {url}; expected the store of a service")
    if not archive.folder.is_dir():
        raise ConfigError(
            archive.folder,
            "is not a folder; expected the drop folder that the images of the store came from",
        )
    one_plane = archive.pattern is not None and "plane" in compile_pattern(archive.pattern).fields
    encoder_id = load_bundle(encoder).card.encoder_id
    shots: dict[str, list[_Shot]] = {}
    maps: dict[str, PlateMap] = {}
    assays: dict[str, Assay] = {}
    store = SqlStore(url)
    try:
        of_runs = {(assay.plate, assay.run): assay for assay in store.assays()}
        for plate in store.plates():
            for plate_map in store.run_maps(plate):
                name = plate if plate_map.run == 1 else f"{plate} run {plate_map.run}"
                maps[name] = plate_map
                if archive.assays and (plate, plate_map.run) in of_runs:
                    assays[name] = of_runs[plate, plate_map.run]
                images = store.observations(
                    select_images(store.imaged(plate, encoder_id), plate_map), encoder_id
                )
                shots[name] = [
                    _shot(image.key.well, image.day, image.files, plate_map, one_plane=one_plane)
                    for image in images
                ]
    finally:
        store.close()
    yield from _write_all_crops(archive, shots, _Plates(maps, assays), cache, cropping, record)


def _plate_maps(folder: Path) -> dict[str, PlateMap]:
    """Return the valid plate maps of a folder by plate.

    An invalid map is logged; the images of its plate are used as if they had no map.
    """
    maps = {}
    for plate, found in read_plate_maps(folder).items():
        if isinstance(found, PlateMap):
            maps[plate] = found
        else:
            log.warning("plate_map.left_out", plate=plate, reason=str(found))
    return maps


def _named_shots(
    archive: Archive,
    pattern: NamePattern,
    versions: Iterable[FileVersion],
    maps: dict[str, PlateMap],
    record: RecordLeftOut,
) -> dict[str, list[_Shot]]:
    """Return the well images that the pattern finds among the files, by plate."""
    named: list[NamedFile] = []
    for version in versions:
        try:
            name = pattern.parse(version.path)
        except ImageError as error:
            _leave_out(LeftOutImage("", version.path, error.problem), record)
            continue
        plate = name.plate or str(
            PurePosixPath(archive.folder.resolve().name) / PurePosixPath(version.path).parent
        )
        named.append(NamedFile(ListedFile(version, unchanged_since_s=0.0), name, plate))
    dated: list[VisitFile] = []
    for each in select_field(list(_of_channel(named, archive, record)), archive.field):
        version, plate = each.file.version, each.plate
        try:
            day = _day(archive.folder, version, each.name, maps.get(plate))
        except ImageError as error:
            _leave_out(LeftOutImage(plate, version.path, error.problem), record)
            continue
        if day >= (1 if plate in maps else 0):
            dated.append(VisitFile(each.file, each.name, plate, day))
        else:
            reason = f"culture day {day}; expected day 1, the day of seeding, or later"
            _leave_out(LeftOutImage(plate, version.path, reason), record)
    shots: dict[str, list[_Shot]] = defaultdict(list)
    for group in group_by_visit(dated, lambda _: True):
        plate_map = maps.get(group.key.plate)
        shots[group.key.plate].append(
            _shot_of(group, plate_map, one_plane=pattern.one_plane_per_file)
        )
    return shots


def _leave_out(image: LeftOutImage, record: RecordLeftOut) -> None:
    """Log and record an image that is not used."""
    log.warning("image.left_out", plate=image.plate, file=image.file, reason=image.reason)
    record(image)


def _of_channel(
    named: Iterable[NamedFile], archive: Archive, record: RecordLeftOut
) -> Iterator[NamedFile]:
    """Yield the files of the channel of an archive, without plates where it is not clear."""
    plates: dict[str, list[NamedFile]] = defaultdict(list)
    for each in named:
        plates[each.plate].append(each)
    for plate, files in plates.items():
        channels = {each.name.channel for each in files}
        problem = channel_problem(channels, archive.channel, key="data.archives.channel")
        if problem:
            log.warning("plate.left_out", plate=plate, reason=problem)
            for each in files:
                record(LeftOutImage(plate, each.file.version.path, problem))
        else:
            yield from select_channel(files, archive.channel)


def _day(folder: Path, version: FileVersion, name: ParsedName, plate_map: PlateMap | None) -> int:
    """Return the culture day of a file, or 0 if it is unknown because the plate has no map."""
    if plate_map is None:
        return name.day or 0
    return find_day(name, partial(read_time, folder, version), version.mtime_ns, plate_map).day


def _shot_of(group: FileGroup, plate_map: PlateMap | None, *, one_plane: bool) -> _Shot:
    return _shot(group.key.well, group.day, group.versions, plate_map, one_plane=one_plane)


def _shot(
    well: str,
    day: int,
    files: tuple[FileVersion, ...],
    plate_map: PlateMap | None,
    *,
    one_plane: bool,
) -> _Shot:
    entry = plate_map.by_well.get(well) if plate_map else None
    group, treatment = (entry.group.value, entry.treatment) if entry else ("", "")
    is_of_map = plate_map is not None and plate_map.um_per_px_from is not ScaleFrom.FILE
    um_per_px = plate_map.um_per_px if plate_map and is_of_map else None
    return _Shot(well, day, group, treatment, um_per_px, files, one_plane)


def _write_all_crops(
    archive: Archive,
    shots: dict[str, list[_Shot]],
    plates: _Plates,
    cache: Path,
    cropping: Cropping,
    record: RecordLeftOut,
) -> Iterator[PlateCrops]:
    for plate in sorted(shots):
        content = hashlib.sha256(
            f"{shots[plate]} {archive.bits} {archive.um_per_px}".encode()
        ).hexdigest()
        plate_map = plates.maps.get(plate)
        note = PlateNote(plate, f"archive {content}", plate_map.dosed_on_day if plate_map else 0)
        crops = _open_or_write_crops(archive, note, shots[plate], cache, cropping, record)
        if crops is not None and archive.assays:
            crops = add_viability(crops, plate_map, plates.assays.get(plate))
        if crops is not None:
            yield crops


def _open_or_write_crops(
    archive: Archive,
    note: PlateNote,
    shots: Sequence[_Shot],
    cache: Path,
    cropping: Cropping,
    record: RecordLeftOut,
) -> PlateCrops | None:
    """Return the crops of a plate, from the cache or from its images; None without any image."""
    folder = crop_folder(cache, note, cropping)
    if folder.exists():
        crops = open_crops(folder)
        for image in crops.notes.left_out if crops.notes else ():
            record(image)
        return crops
    notes = ReadingNotes()
    read = _crop_readable_images(archive, note.plate, shots, cropping, notes)
    written = write_crops(cache, note, cropping, read, notes)
    for image in notes.left_out:
        record(image)
    return written


def _crop_readable_images(
    archive: Archive,
    plate: str,
    shots: Sequence[_Shot],
    cropping: Cropping,
    notes: ReadingNotes,
) -> Iterator[WellCrop]:
    """Yield the crops of all usable images of a plate, with one image in memory at a time.

    Images that cannot be used, and the number of images without a scale, are added to the notes.
    """
    with show_progress(f"images of {plate}", len(shots)) as advance:
        for number, shot in enumerate(shots, start=1):
            try:
                yield _read_and_crop(archive, shot, cropping, notes)
            except (ImageError, MachineError, ValueError) as error:
                reason = str(error) if isinstance(error, ValueError) else error.problem
                _leave_out(LeftOutImage(plate, shot.files[0].path, reason), notes.left_out.append)
            advance(number)


def _read_and_crop(
    archive: Archive, shot: _Shot, cropping: Cropping, notes: ReadingNotes
) -> WellCrop:
    results = read_versions(archive.folder, shot.files, ImageLimits(), one_plane=shot.one_plane)
    images = tuple(
        _require_image(version, result) for version, result in zip(shot.files, results, strict=True)
    )
    planes = stretch(images, shot.files[0].path, bits=archive.bits)
    _check_not_mask(planes, shot.files[0].path)
    scale = shot.um_per_px or next(
        (image.metadata.um_per_px for image in images if image.metadata.um_per_px),
        archive.um_per_px,
    )
    crop = crop_well_image(
        planes,
        scale,
        cropping,
        well=shot.well,
        day=shot.day,
        group=shot.group,
        treatment=shot.treatment,
    )
    notes.without_scale += scale is None
    return crop


def _require_image(version: FileVersion, result: FileResult) -> RawImage:
    if isinstance(result, ImageError | MachineError):
        raise result
    if result is None:
        raise ImageError(
            version.path, "was deleted or changed after it was listed; expected an unchanged file"
        )
    return result


def _check_not_mask(planes: npt.NDArray[np.uint16], where: str) -> None:
    values = len(np.unique(planes))
    if values < MIN_GREY_VALUES:
        raise ImageError(where, f"has {values} grey values; expected an image, not a mask")
