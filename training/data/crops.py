"""Cropped images of one plate, stored in a folder that is mapped into memory.

Images are cropped with the preprocessing of the service. A folder holds ``crops.u8``, the raw bytes
of all crops, ``table.npz`` with their labels and measures, and for real images ``reading.json``
with the images that could not be used. It is written under another name and renamed, so it is
complete or does not exist.
"""

import hashlib
import json
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from acquisition.quality import assess
from inference.encoding.preprocessing import preprocess
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.masks import dilate_mask
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import RANKED_MEASURES, ranked_values
from schemas.encoder_bundle import PlanePolicy, Preprocessing
from schemas.errors import ConfigError

CACHE_VERSION = 1
"""Version of the content of a crop folder; crops of another version are made again."""
CROPS, TABLE, FOREGROUNDS = "crops.u8", "table.npz", "foregrounds.u8"
READING = "reading.json"
FOREGROUND_SEAM = 0.02  # share of the field: the bright seam around tissue and debris

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Cropping:
    """Settings of the crop: the preprocessing of the service without its normalisation.

    Normalisation comes after augmentation. The text of this object decides the name of the crop
    folder, and so the random augmentations of stored features: a renamed class or field changes
    both.
    """

    side_px: int = 256
    field_um: float | None = 900.0  # about twice the tissue; constant, so that size is visible
    background: float = 0.75
    planes: PlanePolicy = PlanePolicy.SHARPEST_NEIGHBOURS

    @property
    def preprocessing(self) -> Preprocessing:
        """Preprocessing steps up to values of 0…1."""
        return Preprocessing(
            planes=self.planes,
            field_um=self.field_um,
            background=self.background,
            mean=(0, 0, 0),
            std=(1, 1, 1),
        )


@dataclass(frozen=True, eq=False)
class WellCrop:
    """The crop of one well image, with its labels and measures."""

    well: str
    day: int  # culture day; 0 if unknown
    group: str  # "" if unknown
    treatment: str  # "" if unknown or none
    pixels: Bytes  # (3, S, S): 255 × the value after background correction
    measures: npt.NDArray[np.float32]  # (M,) of the clean image; NaN without tissue or scale


@dataclass(frozen=True)
class PlateNote:
    """Identity and source of a plate; decides the name of its crop folder.

    The text of this object is part of the digest: a renamed class or field changes the folder, and
    the random augmentations of stored features.
    """

    plate: str
    source: str  # everything that decides the crops, such as digests of the files
    dosed_on_day: int = 0  # 0 if unknown


@dataclass(frozen=True)
class LeftOutImage:
    """An image or file that is not used, and the reason."""

    plate: str  # "" if the plate is not known
    file: str  # below the folder of the archive; "" for all images of the plate
    reason: str


@dataclass
class ReadingNotes:
    """Notes on the images of one plate, which are filled while the images are read."""

    left_out: list[LeftOutImage] = field(default_factory=list)
    without_scale: int = 0  # number of used images without a scale, which have no measures


@dataclass(frozen=True, eq=False)
class PlateCrops:
    """The crops of N images of one plate, with labels and measures; without any true kill.

    Assay values are not stored in the folder; :mod:`training.data.viability` adds them.
    """

    plate: str
    wells: tuple[str, ...]  # N
    days: npt.NDArray[np.int64]  # (N,) culture days; 0 if unknown
    groups: tuple[str, ...]  # N; "" if unknown
    treatments: tuple[str, ...]  # N; "" if unknown or none
    crops: Bytes  # (N, 3, S, S): 255 × the value after background correction, memory-mapped
    measures: npt.NDArray[np.float32]
    """(N, M): the ranked measures of the clean images; NaN without tissue or scale."""
    dosed_on_day: int  # 0 if unknown
    background: float  # value of empty medium in a crop, 0…1
    digest: str  # of the plate note and the cropping
    folder: Path
    repeat: int = 1  # number of times that each image is in an epoch
    viability_percent: npt.NDArray[np.float32] | None = None
    """(N,) assay value of the images of the readout day, NaN if unknown; None: not read."""
    notes: ReadingNotes | None = None  # None: not recorded, as for virtual plates

    def __len__(self) -> int:
        return len(self.wells)

    @property
    def side_px(self) -> int:
        """Side of a crop in pixels."""
        return int(self.crops.shape[2])


def crop_well_image(
    planes: npt.NDArray[np.uint16],
    um_per_px: float | None,
    cropping: Cropping,
    *,
    well: str,
    day: int = 0,
    group: str = "",
    treatment: str = "",
) -> WellCrop:
    """Return the labelled WellCrop of a well image, (planes, H, W) uint16 with white = 65535.

    Raises
    ------
    ValueError
        If the image is too small, or its planes do not fit the plane policy.
    """
    sharpest_plane = assess(planes).sharpest_plane
    values = preprocess(planes, sharpest_plane, um_per_px, cropping.preprocessing, cropping.side_px)
    segmentation = ClassicalSegmenter().segment(planes[sharpest_plane], um_per_px)
    measures = np.full(len(RANKED_MEASURES), np.nan)
    if um_per_px is not None and not segmentation.is_empty:
        measures = ranked_values(measure_tissue(planes[sharpest_plane], segmentation, um_per_px))
    return WellCrop(
        well,
        day,
        group,
        treatment,
        np.round(values * 255).astype(np.uint8),
        measures.astype(np.float32),
    )


def crop_folder(cache: Path, note: PlateNote, cropping: Cropping) -> Path:
    """Return the folder below the cache for the crops of a plate, from its note and cropping."""
    return cache / _digest(note, cropping)


def _digest(note: PlateNote, cropping: Cropping) -> str:
    return hashlib.sha256(f"{CACHE_VERSION} {note} {cropping}".encode()).hexdigest()[:16]


def write_crops(
    cache: Path,
    note: PlateNote,
    cropping: Cropping,
    crops: Iterable[WellCrop],
    notes: ReadingNotes | None = None,
) -> PlateCrops | None:
    """Write a plate's crops one by one to its folder; return the opened PlateCrops, None if empty.

    Parameters
    ----------
    notes
        Notes that are complete after the last crop; written beside the crops.

    Returns
    -------
    PlateCrops or None
        None, and no folder, if there is no crop.
    """
    out = crop_folder(cache, note, cropping)
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=cache) as scratch:
        aside = Path(scratch) / out.name
        aside.mkdir()
        labels: list[tuple[str, int, str, str]] = []
        measures: list[npt.NDArray[np.float32]] = []
        with (aside / CROPS).open("wb") as file:
            for crop in crops:
                file.write(crop.pixels.tobytes())
                labels.append((crop.well, crop.day, crop.group, crop.treatment))
                measures.append(crop.measures)
        if not labels:
            return None
        wells, days, groups, treatments = zip(*labels, strict=True)
        np.savez(
            aside / TABLE,
            plate=note.plate,
            dosed_on_day=note.dosed_on_day,
            background=cropping.background,
            side_px=cropping.side_px,
            wells=wells,
            days=np.array(days, np.int64),
            groups=groups,
            treatments=treatments,
            measures=np.stack(measures),
        )
        if notes is not None:
            (aside / READING).write_text(json.dumps(asdict(notes)), encoding="utf-8")
        try:
            aside.rename(out)
        except OSError:
            if not out.exists():  # otherwise another process has written the same crops
                raise
    return open_crops(out)


def open_crops(folder: Path) -> PlateCrops:
    """Return the PlateCrops of a folder that :func:`write_crops` wrote.

    Raises
    ------
    ConfigError
        If the folder is damaged.
    """
    try:
        with np.load(folder / TABLE) as table:
            side_px, count = int(table["side_px"]), len(table["wells"])
            crops = np.memmap(
                folder / CROPS, np.uint8, mode="r", shape=(count, 3, side_px, side_px)
            )
            return PlateCrops(
                plate=str(table["plate"]),
                wells=tuple(table["wells"].tolist()),
                days=table["days"],
                groups=tuple(table["groups"].tolist()),
                treatments=tuple(table["treatments"].tolist()),
                crops=crops,
                measures=table["measures"],
                dosed_on_day=int(table["dosed_on_day"]),
                background=float(table["background"]),
                digest=folder.name,
                folder=folder,
                notes=_read_notes(folder / READING),
            )
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ConfigError(
            folder,
            f"is damaged ({error}); expected the crops as they were written: "
            "delete the folder, and the next training makes them again",
        ) from error


def _read_notes(path: Path) -> ReadingNotes | None:
    """Return the ReadingNotes of a file, or None if there is no such file."""
    if not path.exists():
        return None
    content = json.loads(path.read_text(encoding="utf-8"))
    left_out = [LeftOutImage(**each) for each in content["left_out"]]
    return ReadingNotes(left_out, content["without_scale"])


def select_crops(plate: PlateCrops, rows: Sequence[int], name: str) -> PlateCrops:
    """Return the PlateCrops of some rows of a plate under another name, in a folder of their own.

    The folder is beside that of the plate. If it exists, it is opened.
    """
    cache = plate.folder.parent
    note = PlateNote(name, f"rows of {plate.digest}: {list(rows)}", plate.dosed_on_day)
    cropping = Cropping(plate.side_px, background=plate.background)
    folder = crop_folder(cache, note, cropping)
    chosen = (
        WellCrop(
            plate.wells[row],
            int(plate.days[row]),
            plate.groups[row],
            plate.treatments[row],
            plate.crops[row],
            plate.measures[row],
        )
        for row in rows
    )
    found = open_crops(folder) if folder.exists() else write_crops(cache, note, cropping, chosen)
    if found is None:
        raise ConfigError("data", f"has no image for {name}; expected at least one")
    viability = plate.viability_percent
    return replace(
        found,
        repeat=plate.repeat,
        viability_percent=None if viability is None else viability[list(rows)],
    )


def foreground_masks(plate: PlateCrops) -> Bytes:
    """Return packed masks of a plate's tissue and debris with a seam, (N, S, S / 8) uint8.

    The masks are computed once and stored beside the crops.
    """
    shape = len(plate), plate.side_px, plate.side_px // 8
    path = plate.folder / FOREGROUNDS
    if not path.exists():
        segmenter, seam_px = ClassicalSegmenter(), FOREGROUND_SEAM * plate.side_px
        with tempfile.TemporaryDirectory(prefix=".foregrounds-", dir=plate.folder) as scratch:
            aside = Path(scratch) / FOREGROUNDS
            with aside.open("wb") as file:
                for crop in plate.crops:
                    tissue = segmenter.segment(crop[1].astype(np.uint16) * np.uint16(257), None)
                    file.write(
                        np.packbits(
                            dilate_mask(tissue.body | tissue.debris, seam_px), axis=-1
                        ).tobytes()
                    )
            aside.rename(path)
    return np.memmap(path, np.uint8, mode="r", shape=shape)
