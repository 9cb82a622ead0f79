"""Encoder bundles on disk: where they lie, and their check by digest."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from schemas.encoder_bundle import BundleCard
from schemas.errors import BundleError
from schemas.forecaster_bundle import ForecasterCard
from schemas.segmenter_bundle import SegmenterCard

Card = TypeVar("Card", BundleCard, ForecasterCard, SegmenterCard)
MODEL_FILE = "encoder.onnx"
CARD_FILE = "bundle.json"
CANARY_UM_PER_PX = 4.0
"""The canary's field is 1.28 mm wide, so that a bundle's ``field_um`` is tried too."""

_HERE = Path(__file__).resolve().parent
SHIPPED = (_HERE / "encoders", _HERE.parent / "deploy" / "encoders")
"""Where the bundles that come with SpheroRank lie: as package data of an installed wheel, or in a checkout."""


@dataclass(frozen=True)
class Bundle:
    """A bundle whose model is the one its card describes."""

    folder: Path
    card: BundleCard
    model: bytes  # the content of encoder.onnx: hashed and run from one reading


def load_bundle(name_or_folder: str) -> Bundle:
    """Read a shipped bundle, named by a bare word such as ``default``, or any folder; hold the model to the card's digest.

    Raises
    ------
    BundleError
        If there is no such folder, a file is missing, the card does not parse, or the digest differs.
    """
    return _read(_find(name_or_folder))


def _find(name_or_folder: str) -> Path:
    if Path(name_or_folder).name == name_or_folder:
        for shipped in SHIPPED:
            if (shipped / name_or_folder / CARD_FILE).is_file():
                return shipped / name_or_folder
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    names = sorted(
        {card.parent.name for shipped in SHIPPED for card in shipped.glob(f"*/{CARD_FILE}")}
    )
    raise BundleError(
        name_or_folder,
        f"is no encoder bundle; expected a folder with {MODEL_FILE} and {CARD_FILE}, or one of: {', '.join(names)}",
    )


def _read(folder: Path) -> Bundle:
    card, model = read_checked(folder, BundleCard, CARD_FILE, MODEL_FILE)
    return Bundle(folder=folder, card=card, model=model)


def read_checked(
    folder: Path, card_type: type[Card], card_name: str, model_name: str
) -> tuple[Card, bytes]:
    """Return card and model of a folder, the model's digest held to the card's; errors as :func:`load_bundle`."""
    card_file, model_file = folder / card_name, folder / model_name
    try:
        card = card_type.model_validate_json(card_file.read_bytes())
        model = model_file.read_bytes()
    except OSError as error:
        raise BundleError(
            error.filename,
            f"cannot be read: {error.strerror}; expected {model_name} and {card_name} in {folder}",
        ) from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'content'}: {problem['msg']}"
            for problem in error.errors()
        )
        raise BundleError(card_file, problems) from error
    found = hashlib.sha256(model).hexdigest()
    if found != card.sha256:
        raise BundleError(model_file, f"SHA-256 is {found}; {card_name} expects {card.sha256}")
    return card, model


def canary_planes(seed: int) -> npt.NDArray[np.uint16]:
    """Return the canary, (3, 320, 320): a dark disc on grain, from whole numbers only, so that every machine makes the same."""
    plane, row, column = np.indices((3, 320, 320), dtype=np.uint64)
    grain = (
        (plane * 102_400 + row * 320 + column + np.uint64(seed))
        * np.uint64(6_364_136_223_846_793_005)
    ) >> np.uint64(52)  # 0…4095
    inside = (row.astype(np.int64) - 160) ** 2 + (column.astype(np.int64) - 150) ** 2 < 80**2
    return np.asarray(np.where(inside, 14_000 + 2 * grain, 40_000 + grain), dtype=np.uint16)
