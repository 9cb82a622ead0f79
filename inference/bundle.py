"""Reads encoder bundles from folders and checks their models against the digests of their cards."""

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
from schemas.stain_bundle import StainCard
from schemas.well_image import VisitKey, WellImage

Card = TypeVar("Card", BundleCard, ForecasterCard, SegmenterCard, StainCard)
MODEL_FILE = "encoder.onnx"
CARD_FILE = "bundle.json"
CANARY_UM_PER_PX = 4.0
"""Scale of the canary; its field is 1.28 mm wide, so that a bundle's ``field_um`` has an effect."""

_HERE = Path(__file__).resolve().parent
SHIPPED_FOLDERS = (_HERE / "encoders", _HERE.parent / "deploy" / "encoders")
"""Folders of SpheroRank's own bundles: package data of an installed wheel, and of a checkout."""


@dataclass(frozen=True)
class Bundle:
    """An encoder bundle whose model has the digest of its card."""

    folder: Path
    card: BundleCard
    model: bytes  # content of encoder.onnx, read once so that the checked bytes are the ones used


def load_bundle(name_or_folder: str) -> Bundle:
    """Return the encoder bundle of a shipped name, such as ``default``, or of a folder.

    Raises
    ------
    BundleError
        If there is no such folder, a file is missing, the card is not valid, or the digest of the
        model differs from the card.
    """
    folder = _find_folder(name_or_folder)
    card, model = read_card_and_model(folder, BundleCard, CARD_FILE, MODEL_FILE)
    return Bundle(folder=folder, card=card, model=model)


def _find_folder(name_or_folder: str) -> Path:
    """Return the folder of a shipped bundle's name, or the folder itself."""
    if Path(name_or_folder).name == name_or_folder:
        for shipped in SHIPPED_FOLDERS:
            if (shipped / name_or_folder / CARD_FILE).is_file():
                return shipped / name_or_folder
    folder = Path(name_or_folder).expanduser()
    if folder.is_dir():
        return folder
    names = sorted(
        {card.parent.name for shipped in SHIPPED_FOLDERS for card in shipped.glob(f"*/{CARD_FILE}")}
    )
    raise BundleError(
        name_or_folder,
        f"is no encoder bundle; expected a folder with {MODEL_FILE} and {CARD_FILE}, "
        f"or one of: {', '.join(names)}",
    )


def read_card_and_model(
    folder: Path, card_type: type[Card], card_name: str, model_name: str
) -> tuple[Card, bytes]:
    """Return (card of a pydantic type, model bytes) from two files of a bundle folder.

    The digest of the model is compared with the card.

    Parameters
    ----------
    folder
        Folder of the bundle.
    card_type
        Pydantic model of the card.
    card_name, model_name
        File names of the card (JSON) and of the model (ONNX).

    Raises
    ------
    BundleError
        If a file cannot be read, the card is not valid, or the digest of the model differs.
    """
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
    """Return the canary, a test image, of a seed, (3, 320, 320) uint16: a dark disc on noise.

    It is computed from integers only, so that every machine gives the same pixels.
    """
    plane, row, column = np.indices((3, 320, 320), dtype=np.uint64)
    noise = (
        (plane * 102_400 + row * 320 + column + np.uint64(seed))
        * np.uint64(6_364_136_223_846_793_005)
    ) >> np.uint64(52)  # 0…4095
    inside = (row.astype(np.int64) - 160) ** 2 + (column.astype(np.int64) - 150) ** 2 < 80**2
    return np.asarray(np.where(inside, 14_000 + 2 * noise, 40_000 + noise), dtype=np.uint16)


def canary_image(seed: int) -> WellImage:
    """Return the canary of a seed as a well image with the scale :data:`CANARY_UM_PER_PX`."""
    planes = canary_planes(seed)
    return WellImage(VisitKey("", "", ""), 1, None, (), planes, CANARY_UM_PER_PX, complete=True)
