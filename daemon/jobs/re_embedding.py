"""``spherorank embed --store``: what another encoder makes of all stored images, kept beside what is there.

The pixels are read again from the files as they were recorded. Each embedding is committed by itself, so the same command goes on where it was stopped.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, closing
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path

import numpy as np
import numpy.typing as npt
import structlog
from rich.progress import track

from acquisition.drop_folder.image_reading import ImageLimits, RawImage, read_versions, stretch
from daemon import wiring
from daemon.config import Config, EncoderSection, SourceSection
from daemon.encoder_switch import is_alive
from inference.ports import EmbeddingLedger, Encoder
from schemas.errors import ConfigError, ImageError, SourceGoneError
from schemas.observation import StoredImage
from schemas.well_image import WellImage

Embedding = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Reembedding:
    """What became of the images that the encoder had not embedded."""

    encoder_id: str
    embedded: int
    refused: list[ImageError]  # gone, changed since they were taken in, or not to be embedded


def re_embed(config: Config, jobs: int) -> Reembedding:
    """Embed what the configured encoder has not embedded yet, plates without a final ranking first; progress shows on a terminal.

    Raises
    ------
    SourceGoneError
        If the folder of the images is not there: nothing is then taken to be gone.
    """
    encoder_id = wiring.open_encoder(config).encoder_id
    refused: list[ImageError] = []
    embedded = 0
    with ExitStack() as stack:
        store = wiring.open_store(config)
        stack.callback(store.close)
        ledger = wiring.open_embedding_ledger(config)
        stack.callback(ledger.close)
        _check_is_there(config.source.path)
        plates = [each for each in ledger.embedded(encoder_id) if each.embedded < each.images]
        plates.sort(key=lambda each: not is_alive(store, each.plate))
        total = sum(each.images - each.embedded for each in plates)
        outcomes = stack.enter_context(
            closing(_outcomes(ledger, [each.plate for each in plates], encoder_id, config, jobs))
        )
        for image, outcome in track(
            outcomes, "images embedded", total=total, disable=not sys.stdout.isatty()
        ):
            if isinstance(outcome, str):
                _check_is_there(config.source.path)
                ledger.add_refusal(image.observation_id, encoder_id, outcome)
                refused.append(
                    ImageError(f"{image.key.plate} {image.key.well} {image.key.visit}", outcome)
                )
            else:
                ledger.add_embedding(image.observation_id, encoder_id, outcome)
                embedded += 1
    return Reembedding(encoder_id, embedded, refused)


def _outcomes(
    ledger: EmbeddingLedger, plates: list[str], encoder_id: str, config: Config, jobs: int
) -> Generator[tuple[StoredImage, Embedding | str]]:
    """Yield each image with its embedding, or why it has none; processes read and embed, this one commits."""
    if not plates:
        return
    # Not forked: a forked child would hold the database and the pipes of its siblings open.
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _open_worker, (config.encoder, config.source)
    )
    try:
        for plate in plates:
            images = ledger.not_embedded(plate, encoder_id)
            yield from zip(images, pool.map(_embed, images), strict=True)
    except BrokenProcessPool as error:
        raise ConfigError(
            "--jobs",
            f"one of {jobs} processes was ended from outside; expected memory for each: give fewer",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _check_is_there(folder: Path) -> None:
    try:
        is_empty = next(folder.iterdir(), None) is None
    except OSError as error:
        raise SourceGoneError(
            folder, f"{error.strerror}; expected the folder that the images were taken in from"
        ) from error
    if is_empty:
        raise SourceGoneError(
            folder,
            "is empty; expected the folder that the images were taken in from: is the share mounted?",
        )


# In the processes that read and embed.


@dataclass(frozen=True)
class _Worker:
    encoder: Encoder
    source: SourceSection

    def embed(self, stored: StoredImage) -> Embedding:
        source = self.source
        limits = ImageLimits(max_pixels=source.max_pixels, max_file_bytes=source.max_file_bytes)
        results = read_versions(source.path, stored.files, limits, one_plane=False)
        for file, result in zip(stored.files, results, strict=True):
            if isinstance(result, ImageError):
                raise result
            if result is None:
                raise ImageError(file.path, "is gone, or not the version that was taken in")
        planes = stretch(
            tuple(result for result in results if isinstance(result, RawImage)),
            stored.key.well,
            bits=source.bits,
        )
        image = WellImage(
            stored.key, stored.day, None, stored.files, planes, stored.um_per_px, complete=True
        )
        if image.digest != stored.digest:
            raise ImageError(
                stored.files[0].path,
                "its pixels are not those that were taken in; expected the same file, and source.bits as it was",
            )
        return np.asarray(self.encoder.embed(image, stored.sharpest_plane))


_workers: list[_Worker] = []


def _open_worker(encoder: EncoderSection, source: SourceSection) -> None:
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(30)
    )  # the first process has told what it runs on
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # a terminal sends it to all; the first process ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _workers.append(
        _Worker(wiring.open_encoder_of(encoder.model_copy(update={"threads": 1})), source)
    )


def _end_with_parent() -> None:
    """Leave no process behind when the first one is killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        wait([parent.sentinel])
        os._exit(1)


def _embed(stored: StoredImage) -> Embedding | str:
    try:
        return _workers[0].embed(stored)
    except ImageError as error:
        return str(error)
