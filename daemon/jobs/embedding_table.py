"""Work of ``spherorank embed``: write the embeddings of image files to a Parquet file.

The columns follow pycytominer: ``Metadata_`` columns first, then one column per dimension.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from acquisition.drop_folder.image_reading import read_image
from daemon.config import Config
from daemon.jobs.new_files import check_new
from daemon.tissue_analysis import TissueMethod, analyse_tissue
from daemon.wiring.networks import open_encoder, open_segmenter
from inference.ports import Encoder
from schemas.embedding_id import embedding_id
from schemas.errors import ConfigError, ImageError
from schemas.well_image import VisitKey, WellImage


@dataclass(frozen=True)
class EmbeddingReport:
    """The files that were refused, and those whose field could not be cropped."""

    refused: list[ImageError]
    not_cropped: list[Path]  # they have no scale, and the encoder has a field in µm
    field_um: float | None  # width of the encoder's field; None: the whole image


def write_embeddings(images: Sequence[Path], out: Path, config: Config) -> EmbeddingReport:
    """Write the embeddings of image files to a Parquet file, and return the EmbeddingReport.

    The encoder is that of the configuration. The Parquet file has one row per embedded image file;
    it is not written if no image can be embedded.

    Parameters
    ----------
    images
        Image files; the pages of one file are its planes.

    Returns
    -------
    EmbeddingReport
        One error for each file that was refused, and the files whose field was not cropped.

    Raises
    ------
    ConfigError
        If the encoder or segmenter cannot be opened, or the Parquet file cannot be written.
    OutputError
        If the Parquet file exists.
    """
    check_new([out])
    encoder = open_encoder(config)
    tissue = TissueMethod(open_segmenter(config.tissue))  # no prediction is written
    rows: list[dict[str, object]] = []
    field_um = encoder.card.preprocessing.field_um
    done = EmbeddingReport([], [], field_um)
    for path in dict.fromkeys(images):
        try:
            row = _row(path, encoder, tissue, bits=config.source.bits)
        except ImageError as error:
            done.refused.append(ImageError(path, error.problem))
            continue
        rows.append(row)
        if field_um is not None and row["Metadata_UmPerPx"] is None:
            done.not_cropped.append(path)
    if not rows:
        return done
    try:
        pd.DataFrame(rows).to_parquet(out, index=False)
    except OSError as error:
        raise ConfigError(out, f"cannot be written: {error}; expected a writable folder") from error
    return done


def _row(
    path: Path, encoder: Encoder, tissue: TissueMethod, *, bits: int | None
) -> dict[str, object]:
    """Return the row of one image file: its metadata and its embedding."""
    read = read_image(path, bits=bits)
    quality = analyse_tissue(read.planes, read.um_per_px, tissue).quality
    image = WellImage(
        key=VisitKey(plate="", well="", visit=""),
        day=1,
        taken_at=None,
        files=(),
        planes=read.planes,
        um_per_px=read.um_per_px,
        complete=True,
    )
    embedding = encoder.embed(image, quality.sharpest_plane)
    metadata: dict[str, object] = {
        "Metadata_File": str(path),
        "Metadata_EncoderId": embedding_id(encoder.encoder_id, encoder.crop(image)),
        "Metadata_UmPerPx": read.um_per_px,
        "Metadata_Flags": " ".join(quality.flags),
        "Metadata_EmbeddedAt": datetime.now(UTC),
    }
    return metadata | {
        f"embedding_{index:04d}": float(value) for index, value in enumerate(embedding)
    }
