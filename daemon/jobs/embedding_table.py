"""``spherorank embed``: image files to a Parquet table of embeddings, with the columns of pycytominer."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from acquisition.drop_folder.image_reading import read_image
from acquisition.quality import assess
from daemon import wiring
from daemon.config import Config
from schemas.errors import ConfigError, ImageError
from schemas.well_image import VisitKey, WellImage


def write(images: Sequence[Path], out: Path, config: Config) -> list[ImageError]:
    """Embed each file and write the table; return the errors of the files that were refused.

    Raises
    ------
    ConfigError
        If the table cannot be written, or no image could be embedded.
    """
    encoder = wiring.open_encoder(config)
    rows: list[dict[str, object]] = []
    refused: list[ImageError] = []
    for path in images:
        try:
            read = read_image(path, bits=config.source.bits)
            quality = assess(read.planes)
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
        except ImageError as error:
            refused.append(ImageError(path, error.problem))
            continue
        metadata: dict[str, object] = {
            "Metadata_File": str(path),
            "Metadata_EncoderId": encoder.encoder_id,
            "Metadata_UmPerPx": read.um_per_px,
            "Metadata_Flags": " ".join(quality.flags),
            "Metadata_EmbeddedAt": datetime.now(UTC),
        }
        rows.append(
            metadata
            | {f"embedding_{index:04d}": float(value) for index, value in enumerate(embedding)}
        )
    if not rows:
        return refused
    try:
        pd.DataFrame(rows).to_parquet(out, index=False)
    except OSError as error:
        raise ConfigError(out, f"cannot be written: {error}; expected a writable folder") from error
    return refused
