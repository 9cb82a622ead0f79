"""Reads stored images again from the files from which they were ingested, in worker processes."""

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage
from acquisition.drop_folder.image_reading import read_versions, stretch
from daemon.config_sections import SourceSection
from schemas.errors import ConfigError, ImageError, MachineError, SourceGoneError
from schemas.observation import StoredImage
from schemas.quality import FLAGS_OF_FILES
from schemas.well_image import WellImage

_POLL_S = 0.5
_Input = TypeVar("_Input")
_Result = TypeVar("_Result")


def read_stored_image(stored: StoredImage, source: SourceSection) -> WellImage:
    """Return a stored image, read again from its files, with the flags that follow from them.

    Raises
    ------
    ImageError
        If a file is missing or changed, or its pixels differ from the stored digest.
    MachineError
        If the disk or the network failed.
    """
    limits = ImageLimits(max_pixels=source.max_pixels, max_file_bytes=source.max_file_bytes)
    results = read_versions(source.path, stored.files, limits, one_plane=False)
    for file, result in zip(stored.files, results, strict=True):
        if isinstance(result, ImageError | MachineError):
            raise result
        if result is None:
            raise ImageError(file.path, "is missing, or not the version that was ingested")
    planes = stretch(
        tuple(result for result in results if isinstance(result, RawImage)),
        stored.key.well,
        bits=source.bits,
    )
    image = WellImage(
        stored.key,
        stored.day,
        None,
        stored.files,
        planes,
        stored.um_per_px,
        complete=True,
        flags=tuple(flag for flag in stored.flags if flag in FLAGS_OF_FILES),
    )
    if image.pixel_digest != stored.pixel_digest:
        raise ImageError(
            stored.files[0].path,
            "its pixels differ from the ingested ones; "
            "expected the same file and the same source.bits",
        )
    return image


def results_in_order(
    pool: ProcessPoolExecutor,
    call: Callable[[_Input], _Result],
    inputs: Iterable[_Input],
    tick: Callable[[], None],
    limit_s: float,
) -> Iterator[_Result]:
    """Yield the result of a call in a worker process for each input, in order.

    Parameters
    ----------
    tick
        Called at least every half second; it may raise an exception to end the work.
    limit_s
        Longest wait for the next result.

    Raises
    ------
    MachineError
        If there is no result in time, as when the share of the images hangs.
    """
    for future in [pool.submit(call, each) for each in inputs]:
        end_s = time.monotonic() + limit_s
        while not wait([future], timeout=_POLL_S).done:
            tick()
            if time.monotonic() > end_s:
                raise MachineError(
                    "source",
                    f"no image was read and processed within {limit_s:g} s; expected an answer: "
                    "does the file server run?",
                )
        tick()
        yield future.result()


@contextmanager
def worker_pool(
    jobs: int, open_worker: Callable[..., None], *parts: object
) -> Iterator[ProcessPoolExecutor]:
    """Context manager that yields a pool of worker processes, which share no connections.

    After an exception the workers are killed, because one may wait for a file server.

    Parameters
    ----------
    jobs
        Number of worker processes.
    open_worker
        Called once in each worker process with ``parts``.

    Raises
    ------
    ConfigError
        If a worker process was killed.
    """
    # Not forked: a forked process would keep the database and the pipes of the others open.
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), open_worker, parts)
    is_done = False
    try:
        yield pool
        is_done = True
    except BrokenProcessPool as error:
        raise ConfigError(
            "--jobs",
            f"one of {jobs} worker processes was killed; "
            "expected enough memory for each: give a smaller number",
        ) from error
    finally:
        if not is_done:
            for process in list((pool._processes or {}).values()):  # noqa: SLF001 - Python 3.14 has kill_workers()
                process.kill()
        pool.shutdown(wait=is_done, cancel_futures=True)


def check_has_files(folder: Path) -> None:
    """Raise :class:`SourceGoneError` if the folder of the images is missing or empty."""
    try:
        is_empty = next(folder.iterdir(), None) is None
    except OSError as error:
        raise SourceGoneError(
            folder, f"{error.strerror}; expected the folder from which the images were ingested"
        ) from error
    if is_empty:
        raise SourceGoneError(
            folder,
            "is empty; expected the folder from which the images were ingested: "
            "is the share mounted?",
        )
