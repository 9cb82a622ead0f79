"""Work of ``spherorank embed --store``: embed all stored images with another encoder.

The earlier embeddings are kept. The pixels are read again from the recorded image files. Each
embedding is committed by itself, so after an interruption the same command continues.
"""

import multiprocessing
import sys
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.progress import track

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage
from acquisition.drop_folder.image_reading import read_versions, stretch
from daemon import wiring
from daemon.child_processes import prepare_child_process
from daemon.config import Config, EncoderSection, SourceSection
from daemon.encoder_switch import is_unfinished
from inference.ports import Encoder
from schemas.errors import ConfigError, ImageError, MachineError, SourceGoneError
from schemas.observation import StoredImage
from schemas.well_image import WellImage
from store.ports import EmbeddingLedger

Embedding = npt.NDArray[np.float32]  # (dimension,)


@dataclass(frozen=True)
class ReembeddingReport:
    """Numbers of stored images that an encoder embedded and refused in one call."""

    encoder_id: str
    embedded: int
    refused: list[ImageError]  # file missing or changed since it was stored, or not embeddable


def re_embed(config: Config, jobs: int) -> ReembeddingReport:
    """Embed all stored images not yet embedded, in ``jobs`` processes; return a ReembeddingReport.

    The encoder is that of the configuration.

    Plates without a final ranking come first. A progress bar shows on a terminal.

    Parameters
    ----------
    jobs
        Number of worker processes, each with its own encoder.

    Raises
    ------
    ConfigError
        If the encoder cannot be opened, or a worker process is killed.
    SourceGoneError
        If the folder of the images is missing or empty: its files are then not counted as missing.
    """
    encoder_id = wiring.open_encoder(config).encoder_id
    refused: list[ImageError] = []
    embedded = 0
    with (
        closing(wiring.open_store(config)) as store,
        closing(wiring.open_embedding_ledger(config)) as ledger,
    ):
        _check_has_files(config.source.path)
        plates = [plate for plate in ledger.embedded(encoder_id) if plate.embedded < plate.images]
        plates.sort(key=lambda plate: not is_unfinished(store, plate.plate))
        total = sum(plate.images - plate.embedded for plate in plates)
        names = list(dict.fromkeys(plate.plate for plate in plates))  # one entry for each run
        with closing(_embed_plates(ledger, names, encoder_id, config, jobs)) as results:
            for image, result in track(
                results, "images embedded", total=total, disable=not sys.stdout.isatty()
            ):
                if isinstance(result, str):
                    _check_has_files(config.source.path)
                    ledger.add_refusal(image.observation_id, encoder_id, result)
                    key = image.key
                    refused.append(ImageError(f"{key.plate} {key.well} {key.visit}", result))
                else:
                    ledger.add_embedding(image.observation_id, encoder_id, result)
                    embedded += 1
    return ReembeddingReport(encoder_id, embedded, refused)


def _embed_plates(
    ledger: EmbeddingLedger, plates: list[str], encoder_id: str, config: Config, jobs: int
) -> Generator[tuple[StoredImage, Embedding | str]]:
    """Yield each image without embedding, with its embedding or the reason why it has none.

    Worker processes read and embed; only this process writes to the store.
    """
    if not plates:
        return
    # Not forked: a forked process would keep the database and the pipes of the others open.
    pool = ProcessPoolExecutor(
        jobs, multiprocessing.get_context("spawn"), _open_worker, (config.encoder, config.source)
    )
    try:
        for plate in plates:
            images = ledger.not_embedded(plate, encoder_id)
            yield from zip(images, pool.map(_embed_in_worker, images), strict=True)
    except BrokenProcessPool as error:
        raise ConfigError(
            "--jobs",
            f"one of {jobs} worker processes was killed; "
            "expected enough memory for each: give a smaller number",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _check_has_files(folder: Path) -> None:
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


@dataclass(frozen=True)
class _Worker:
    """The encoder and the source settings of one worker process."""

    encoder: Encoder
    source: SourceSection

    def embed(self, stored: StoredImage) -> Embedding:
        """Read the files of a stored image again and return its embedding.

        Raises
        ------
        ImageError
            If a file is missing or changed, or its pixels differ from the stored digest.
        """
        source = self.source
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
            stored.key, stored.day, None, stored.files, planes, stored.um_per_px, complete=True
        )
        if image.pixel_digest != stored.pixel_digest:
            raise ImageError(
                stored.files[0].path,
                "its pixels differ from the ingested ones; "
                "expected the same file and the same source.bits",
            )
        return np.asarray(self.encoder.embed(image, stored.sharpest_plane))


_workers: list[_Worker] = []  # the one worker of this process, once it is opened


def _open_worker(encoder: EncoderSection, source: SourceSection) -> None:
    """Open the worker of this process; called once in each worker process."""
    prepare_child_process()
    _workers.append(
        _Worker(wiring.open_encoder_of(encoder.model_copy(update={"threads": 1})), source)
    )


def _embed_in_worker(stored: StoredImage) -> Embedding | str:
    try:
        return _workers[0].embed(stored)
    except ImageError as error:
        return str(error)
