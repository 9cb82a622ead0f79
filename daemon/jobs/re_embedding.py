"""Work of ``spherorank embed --store``: embed all stored images with another encoder.

The earlier embeddings are kept. The pixels are read again from the recorded image files. Each
embedding is committed by itself, so after an interruption the same command continues.
"""

import sys
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.progress import track

from daemon.child_processes import prepare_child_process
from daemon.config import Config
from daemon.config_sections import EncoderSection, SourceSection
from daemon.encoder_switch import is_unfinished
from daemon.stored_images import check_has_files, read_stored_image, worker_pool
from daemon.wiring.networks import open_encoder, open_encoder_of
from daemon.wiring.store import open_embedding_ledger, open_store
from inference.ports import Encoder
from schemas.errors import ImageError
from schemas.observation import StoredImage

Embedding = tuple[npt.NDArray[np.float32], str | None]  # (dimension,), name of the crop


@dataclass(frozen=True)
class ReembeddingReport:
    """Numbers of stored images that an encoder embedded and refused in one call."""

    encoder_id: str
    embedded: int
    refused: list[ImageError]  # file missing or changed since it was stored, or not embeddable


def re_embed(config: Config, jobs: int, *, again: bool = False) -> ReembeddingReport:
    """Embed all stored images not yet embedded, in ``jobs`` processes; return a ReembeddingReport.

    The encoder is that of the configuration.

    Plates without a final ranking come first. A progress bar shows on a terminal.

    Parameters
    ----------
    jobs
        Number of worker processes, each with its own encoder.
    again
        Embed also images of which no crop is recorded. An image whose width is smaller than the
        field of the encoder then gets the embedding of the field that fits it.

    Raises
    ------
    ConfigError
        If the encoder cannot be opened, or a worker process is killed.
    SourceGoneError
        If the folder of the images is missing or empty: its files are then not counted as missing.
    """
    encoder_id = open_encoder(config).encoder_id
    refused: list[ImageError] = []
    embedded = 0
    with (
        closing(open_store(config)) as store,
        closing(open_embedding_ledger(config)) as ledger,
    ):
        check_has_files(config.source.path)
        plates = [
            plate for plate in ledger.embedded(encoder_id) if again or plate.embedded < plate.images
        ]
        plates.sort(key=lambda plate: not is_unfinished(store, plate.plate))
        names = list(dict.fromkeys(plate.plate for plate in plates))  # one entry for each run
        images = {name: list(ledger.not_embedded(name, encoder_id, again=again)) for name in names}
        total = sum(map(len, images.values()))
        with closing(_embed_plates(images, config, jobs)) as results:
            for image, result in track(
                results, "images embedded", total=total, disable=not sys.stdout.isatty()
            ):
                if isinstance(result, str):
                    check_has_files(config.source.path)
                    ledger.add_refusal(image.observation_id, encoder_id, result)
                    key = image.key
                    refused.append(ImageError(f"{key.plate} {key.well} {key.visit}", result))
                else:
                    vector, crop = result
                    ledger.add_embedding(image.observation_id, encoder_id, vector, crop)
                    embedded += 1
    return ReembeddingReport(encoder_id, embedded, refused)


def _embed_plates(
    images: Mapping[str, Sequence[StoredImage]], config: Config, jobs: int
) -> Generator[tuple[StoredImage, Embedding | str]]:
    """Yield each image, by plate, with its embedding or the reason why it has none.

    Worker processes read and embed; only this process writes to the store.
    """
    if not any(images.values()):
        return
    with worker_pool(jobs, _open_worker, config.encoder, config.source) as pool:
        for of_plate in images.values():
            yield from zip(of_plate, pool.map(_embed_in_worker, of_plate), strict=True)


@dataclass(frozen=True)
class _Worker:
    """The encoder and the source settings of one worker process."""

    encoder: Encoder
    source: SourceSection

    def embed(self, stored: StoredImage) -> Embedding:
        """Read the files of a stored image again and return its embedding and crop.

        Raises
        ------
        ImageError
            If a file is missing or changed, or its pixels differ from the stored digest.
        """
        image = read_stored_image(stored, self.source)
        vector = np.asarray(self.encoder.embed(image, stored.sharpest_plane))
        return vector, self.encoder.crop(image)


_workers: list[_Worker] = []  # the one worker of this process, once it is opened


def _open_worker(encoder: EncoderSection, source: SourceSection) -> None:
    """Open the worker of this process; called once in each worker process."""
    prepare_child_process()
    _workers.append(_Worker(open_encoder_of(encoder.model_copy(update={"threads": 1})), source))


def _embed_in_worker(stored: StoredImage) -> Embedding | str:
    try:
        return _workers[0].embed(stored)
    except ImageError as error:
        return str(error)
