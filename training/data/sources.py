"""Crops of all sources of training images, and their split into training and validation plates.

Every source gives one :class:`training.data.crops.PlateCrops` for each plate.
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from schemas.errors import ConfigError
from training.data.archive import (
    Archive,
    RecordLeftOut,
    crop_archive,
    crop_stored_images,
    ignore_left_out,
)
from training.data.crops import Cropping, PlateCrops, open_crops, select_crops
from training.data.virtual_plates import VirtualWells, crop_virtual_plate

ProgressCallback = Callable[[int, int], None]  # number of plates done, number of plates


def _ignore_progress(_done: int, _total: int) -> None:
    """Ignore the progress."""


def crops_from_archive(
    archive: Archive,
    cache: Path,
    *,
    cropping: Cropping | None = None,
    record: RecordLeftOut = ignore_left_out,
) -> list[PlateCrops]:
    """Return the PlateCrops of each plate below an archive's folder, from the cache or made.

    Raises
    ------
    ConfigError
        If the folder does not exist, the pattern is invalid, or no image is usable.
    """
    plates = list(crop_archive(archive, cache, cropping or Cropping(), record))
    if not plates:
        expected = f"images named {archive.pattern}" if archive.pattern else "images"
        raise ConfigError(archive.folder, f"has no usable image; expected {expected}")
    return plates


def crops_from_store(
    url: str,
    archive: Archive,
    cache: Path,
    *,
    cropping: Cropping | None = None,
    encoder: str = "default",
    record: RecordLeftOut = ignore_left_out,
) -> list[PlateCrops]:
    """Return the PlateCrops of each plate of a store (URL), read from the archive's drop folder.

    Parameters
    ----------
    url
        Database URL of the store.
    archive
        The drop folder that the images came from.
    encoder
        Bundle whose rankings decide the selected images.
    record
        Called with each image that is not used.

    Raises
    ------
    ConfigError
        If the store, folder or encoder does not exist, or no image is usable.
    """
    plates = list(crop_stored_images(url, archive, cache, cropping or Cropping(), encoder, record))
    if not plates:
        raise ConfigError(
            "store",
            f"is {url}, and {archive.folder} has no image that encoder {encoder!r} embedded there; "
            "expected the images of its plates",
        )
    return plates


def crops_from_virtual_plates(
    seeds: Iterable[int],
    cache: Path,
    *,
    cropping: Cropping | None = None,
    wells: VirtualWells | None = None,
    jobs: int = 1,
    progress: ProgressCallback = _ignore_progress,
) -> list[PlateCrops]:
    """Return the PlateCrops of one virtual plate for each seed, made by up to ``jobs`` processes.

    Raises
    ------
    ConfigError
        If there is no seed, or a seed is reserved for tests and benchmarks.
    """
    distinct = sorted(set(seeds))
    if not distinct:
        raise ConfigError("seeds", "is empty; expected at least one")
    crop_seed = partial(
        _crop_folder_of_seed,
        cache=cache,
        cropping=cropping or Cropping(),
        wells=wells or VirtualWells(),
    )
    with contextlib.ExitStack() as stack:
        pool = (
            stack.enter_context(
                ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
            )
            if jobs > 1
            else None
        )
        plates = []
        for folder in (pool.map if pool else map)(crop_seed, distinct):
            plates.append(open_crops(folder))
            progress(len(plates), len(distinct))
    return plates


def _crop_folder_of_seed(seed: int, cache: Path, cropping: Cropping, wells: VirtualWells) -> Path:
    """Make the crops of a virtual plate and return their folder.

    The crops stay on disk, because only a path is cheap to send between processes.
    """
    return crop_virtual_plate(seed, cache, cropping=cropping, wells=wells).folder


@dataclass(frozen=True)
class CropSplit:
    """The crops for training and those for validation."""

    training: list[PlateCrops]
    validation: list[PlateCrops]
    shared_plate: str = ""  # the only plate, whose wells are split; "" if no plate is in both


def split_crops(plates: Sequence[PlateCrops], validation_share: float, seed: int) -> CropSplit:
    """Return the CropSplit of plates, at least one plate for each part.

    If there is one plate only, its wells are split: all images of a well are in one part.

    Raises
    ------
    ConfigError
        If there is only one well, or the share is not between 0 and 1.
    """
    if not 0 < validation_share < 1:
        raise ConfigError("validation_share", f"is {validation_share}; expected between 0 and 1")
    names = sorted({plate.plate for plate in plates})
    if len(names) == 1:
        return _split_wells(plates, validation_share, seed)
    if not names:
        raise ConfigError("data", "has no plate; expected at least one")
    chosen = _choose(names, validation_share, seed)
    training = [plate for plate in plates if plate.plate not in chosen]
    validation = [plate for plate in plates if plate.plate in chosen]
    check_plates_disjoint(training, validation)
    return CropSplit(training, validation)


def _split_wells(plates: Sequence[PlateCrops], validation_share: float, seed: int) -> CropSplit:
    """Return the CropSplit by wells of crops that are all of one plate."""
    name = plates[0].plate
    wells = sorted({well for plate in plates for well in plate.wells})
    if len(wells) < 2:  # noqa: PLR2004 - one for training, one for validation
        raise ConfigError(
            "data",
            f"has one plate, {name}, with one well; expected two or more wells, as training and "
            "validation share no well",
        )
    chosen = _choose(wells, validation_share, seed)
    parts: dict[str, list[PlateCrops]] = {"training": [], "validation": []}
    for plate in plates:
        for part, of_part in parts.items():
            is_chosen = [well in chosen for well in plate.wells]
            rows = [row for row, each in enumerate(is_chosen) if each == (part == "validation")]
            if rows:
                of_part.append(select_crops(plate, rows, f"{name}, {part} wells"))
    return CropSplit(parts["training"], parts["validation"], shared_plate=name)


def _choose(names: Sequence[str], share: float, seed: int) -> set[str]:
    """Return a random share of names, at least one, and not all."""
    count = min(max(round(share * len(names)), 1), len(names) - 1)
    return {names[index] for index in np.random.default_rng(seed).permutation(len(names))[:count]}


def check_plates_disjoint(training: Sequence[PlateCrops], validation: Sequence[PlateCrops]) -> None:
    """Raise ConfigError if a plate is in both the training and the validation PlateCrops."""
    both = sorted({plate.plate for plate in training} & {plate.plate for plate in validation})
    if both:
        raise ConfigError(
            "data",
            f"has plates in both training and validation: {', '.join(both)}; "
            "expected each plate in one of them",
        )
