"""What encoders are trained on, plate by plate: where it comes from, and how it is split.

Every source gives :class:`training.data.well_views.WellViews`, one a plate, cropped once into the cache; :mod:`training.data.batches` makes batches of them.
"""

import contextlib
import multiprocessing
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from schemas.errors import ConfigError
from training.data.archive import Archive, archive_views, stored_views
from training.data.virtual_plates import VirtualWells, virtual_views
from training.data.well_views import Cropping, WellViews, open_views

Progress = Callable[[int, int], None]  # plates done, of how many


def _no_progress(_done: int, _total: int) -> None:
    """Tell nobody."""


def from_archive(
    archive: Archive, cache: Path, *, cropping: Cropping | None = None
) -> list[WellViews]:
    """Return the views of a folder of images; see :class:`training.data.archive.Archive`.

    Raises
    ------
    ConfigError
        If the folder or the pattern is wrong, or no image can be used.
    """
    views = list(archive_views(archive, cache, cropping or Cropping()))
    if not views:
        expected = f"images named {archive.pattern}" if archive.pattern else "images"
        raise ConfigError(archive.folder, f"has no image that can be used; expected {expected}")
    return views


def from_store(
    url: str,
    archive: Archive,
    cache: Path,
    *,
    cropping: Cropping | None = None,
    encoder: str = "default",
) -> list[WellViews]:
    """Return the views of the images that count in a service's store; ``archive`` is the drop folder they were taken from.

    Raises
    ------
    ConfigError
        If store, folder or encoder is wrong, or no image can be used.
    """
    views = list(stored_views(url, archive, cache, cropping or Cropping(), encoder))
    if not views:
        raise ConfigError(
            "store",
            f"is {url}, with no image of encoder {encoder!r} that is still in {archive.folder}; expected the images of its plates",
        )
    return views


def from_virtual(
    seeds: Iterable[int],
    cache: Path,
    *,
    cropping: Cropping | None = None,
    wells: VirtualWells | None = None,
    jobs: int = 1,
    progress: Progress = _no_progress,
) -> list[WellViews]:
    """Return the views of virtual plates, one a seed, by up to ``jobs`` processes.

    Raises
    ------
    ConfigError
        If there is no seed, or plates of a seed are kept for tests and benchmarks.
    """
    wanted = sorted(set(seeds))
    if not wanted:
        raise ConfigError("seeds", "is empty; expected at least one")
    folder_of_seed = partial(
        _virtual_folder, cache=cache, cropping=cropping or Cropping(), wells=wells or VirtualWells()
    )
    with contextlib.ExitStack() as stack:
        pool = (
            stack.enter_context(
                ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
            )
            if jobs > 1
            else None
        )
        views = []
        for folder in (pool.map if pool else map)(folder_of_seed, wanted):
            views.append(open_views(folder))
            progress(len(views), len(wanted))
    return views


def _virtual_folder(seed: int, cache: Path, cropping: Cropping, wells: VirtualWells) -> Path:
    """Return where the views of a seed are kept: a path crosses between processes, crops would be copied."""
    return virtual_views(seed, cache, cropping=cropping, wells=wells).folder


def split_by_plate(
    views: Sequence[WellViews], validation_share: float, seed: int
) -> tuple[list[WellViews], list[WellViews]]:
    """Return (training, validation): whole plates, at least one each.

    Raises
    ------
    ConfigError
        If there is one plate only, or the share is not between 0 and 1.
    """
    if not 0 < validation_share < 1:
        raise ConfigError("validation_share", f"is {validation_share}; expected between 0 and 1")
    plates = sorted({plate.plate for plate in views})
    if len(plates) < 2:  # noqa: PLR2004 - one to learn from, one to judge by
        raise ConfigError(
            "data",
            f"has {'only plate ' + plates[0] if plates else 'no plate'}; expected two or more, as training and validation share no plate",
        )
    count = min(max(round(validation_share * len(plates)), 1), len(plates) - 1)
    chosen = {
        plates[index] for index in np.random.default_rng(seed).permutation(len(plates))[:count]
    }
    training = [plate for plate in views if plate.plate not in chosen]
    validation = [plate for plate in views if plate.plate in chosen]
    check_no_leak(training, validation)
    return training, validation


def check_no_leak(training: Sequence[WellViews], validation: Sequence[WellViews]) -> None:
    """Refuse a plate that is on both sides.

    Raises
    ------
    ConfigError
        Naming the plates.
    """
    both = sorted({plate.plate for plate in training} & {plate.plate for plate in validation})
    if both:
        raise ConfigError(
            "data",
            f"has plates in both training and validation: {', '.join(both)}; expected each plate on one side",
        )
