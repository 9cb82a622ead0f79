"""Read image files of the drop folder, and rescale their planes to 16 bits."""

import hashlib
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import tifffile

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage, decode
from acquisition.drop_folder.metadata.image_metadata import ImageMetadata, read_metadata
from acquisition.drop_folder.regular_files import open_regular
from schemas.errors import ImageError, MachineError
from schemas.machine_faults import is_machine_fault
from schemas.scale import FileScale
from schemas.well_image import FileVersion

FileResult = RawImage | ImageError | MachineError | None
"""The result of reading one version of a file; None if the file is gone or is another version."""


@dataclass(frozen=True, eq=False)
class GreyImage:
    """The planes of one file, rescaled to 16 bits, with its scale and time."""

    planes: npt.NDArray[np.uint16]  # (planes, H, W), white = 65535
    um_per_px: float | None
    taken_at: datetime | None  # naive if the file has no time zone
    scale_source: str = ""  # kind of metadata that contains the scale


def read_image(
    path: Path, *, bits: int | None = None, limits: ImageLimits | None = None
) -> GreyImage:
    """Return the GreyImage (16-bit planes, scale and time) read from the path of one image file.

    Parameters
    ----------
    path
        The file.
    bits
        Significant bits of a uint16 pixel; None: from the file, else from the brightest pixel.
    limits
        The largest and smallest images that are decoded; by default those of the service.

    Raises
    ------
    ImageError
        With the reason, if the file is not a grey image within the limits.
    """
    limits = limits or ImageLimits()
    try:
        size = path.stat().st_size
        if size > limits.max_file_bytes:
            raise ImageError(path, f"{size} bytes; expected at most {limits.max_file_bytes}")
        content = path.read_bytes()
    except OSError as error:
        raise ImageError(path, f"cannot be read: {error.strerror}") from error
    image = decode(content, path, limits)
    planes = stretch((image,), path, bits=bits)
    found = image.metadata
    return GreyImage(planes, found.um_per_px, found.taken_at, found.scale_source)


def read_version(root: Path, version: FileVersion, limits: ImageLimits) -> RawImage | None:
    """Return the RawImage decoded from a version of a file below ``root``; None if it changed.

    Return None if the file is gone or is another version now.

    Raises
    ------
    ImageError
        With the reason, if the file is not a grey image within the limits.
    MachineError
        If disk, network or memory failed, or the file may not be opened now.
    """
    if version.size > limits.max_file_bytes:
        raise ImageError(
            version.path, f"{version.size} bytes; expected at most {limits.max_file_bytes}"
        )
    try:
        with open_regular(root / version.path) as file:
            before = os.fstat(file.fileno())
            content = file.read(version.size + 1)
            after = os.fstat(file.fileno())
        if any(FileVersion.of(version.path, status) != version for status in (before, after)):
            return None
        return decode(content, version.path, limits)
    except (FileNotFoundError, NotADirectoryError):  # gone, as the next listing will show
        return None
    except Exception as error:
        raise _as_own_error(error, version.path) from error


def _as_own_error(error: Exception, path: str) -> ImageError | MachineError:
    """Return the error of our tree for an exception that was raised while a file was read."""
    if isinstance(error, ImageError):
        return error
    reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
    if is_machine_fault(error):
        return MachineError(path, f"cannot be read now: {reason}")
    return ImageError(path, f"cannot be read: {reason}")


def read_versions(
    root: Path, versions: tuple[FileVersion, ...], limits: ImageLimits, *, one_plane: bool
) -> tuple[FileResult, ...]:
    """Return a RawImage, an error or None for each file version of one well image; never raise.

    Parameters
    ----------
    root
        The drop folder.
    versions
        The files; the result of a file that changed is None.
    limits
        The largest and smallest images that are decoded.
    one_plane
        Whether the file names contain the plane, so that a file with several pages is an error.
    """
    results: list[FileResult] = []
    for version in versions:
        try:
            image = read_version(root, version, limits)
        except (ImageError, MachineError) as error:
            results.append(error)
            continue
        if one_plane and image is not None and len(image.planes) > 1:
            problem = f"{len(image.planes)} pages; expected one, as the name contains the plane"
            results.append(ImageError(version.path, problem))
        else:
            results.append(image)
    return tuple(results)


def read_digest(root: Path, version: FileVersion) -> str | None:
    """Return the SHA-256 of a version of a file below ``root`` as text; None if it changed.

    Return None if the file is gone or is another version now.

    Raises
    ------
    MachineError
        If disk or network failed, or the file may not be opened now.
    """
    try:
        with open_regular(root / version.path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            after = os.fstat(file.fileno())
    except (FileNotFoundError, NotADirectoryError):  # gone, as the next listing will show
        return None
    except OSError as error:
        raise MachineError(version.path, f"cannot be read now: {error.strerror}") from error
    return digest if FileVersion.of(version.path, after) == version else None


def read_time(root: Path, version: FileVersion) -> datetime | None:
    """Return the acquisition time in the header of a TIFF file; None if there is none.

    A damaged file has none: its problem is reported when its pixels are read.

    Raises
    ------
    MachineError
        If disk, network or memory failed, or the file may not be opened now.
    """
    try:
        with open_regular(root / version.path) as file, tifffile.TiffFile(file) as tif:
            return read_metadata(tif).taken_at
    except Exception as error:
        own_error = _as_own_error(error, version.path)
        if isinstance(own_error, MachineError):
            raise own_error from error
        return None


def scale_of(metadata: ImageMetadata) -> FileScale | None:
    """Return the scale in the metadata of a file with its source; None if the file has none."""
    found = metadata.um_per_px
    return FileScale(found, metadata.scale_source) if found else None


def read_scale(path: Path) -> FileScale | None:
    """Return the scale in the header of an image file; None if there is none or it is unreadable.

    Only TIFF files contain a scale.
    """
    try:
        with tifffile.TiffFile(path) as tif:
            return scale_of(read_metadata(tif))
    except Exception:  # noqa: BLE001 - any problem of the file is reported when its pixels are read
        return None


def stretch(
    images: tuple[RawImage, ...], where: object, *, bits: int | None
) -> npt.NDArray[np.uint16]:
    """Return the planes of all files of one well image, (planes, H, W) uint16, white = 65535.

    All planes are rescaled by the same factor. White in the files is 255 for uint8. For uint16 it
    follows from ``bits``, else from the bits in the files, else it is 4095 if no pixel of the well
    image is brighter, else 65535.

    Parameters
    ----------
    images
        The decoded files of the well image.
    where
        The path or well, for error messages.
    bits
        Significant bits of a uint16 pixel; None: from the files.

    Raises
    ------
    ImageError
        If the planes differ in size or type, or a pixel is brighter than the bits allow.
    """
    planes = [plane for image in images for plane in image.planes]
    kinds = sorted({f"{plane.shape[1]}×{plane.shape[0]} {plane.dtype}" for plane in planes})
    if len(kinds) > 1:
        raise ImageError(where, f"its planes are {' and '.join(kinds)}; expected one size and type")
    stack = np.stack(planes)
    if stack.dtype == np.uint8:
        return np.asarray(np.multiply(stack, np.uint16(257), dtype=np.uint16))
    brightest = int(stack.max())
    known_bits = (
        bits
        or max((image.bits or 0 for image in images), default=0)
        or (12 if brightest <= 4095 else 16)  # noqa: PLR2004 - 12 bits
    )
    white = 2**known_bits - 1
    if brightest > white:
        reason = f"source.bits is {bits}" if bits else f"the files have {known_bits} bits"
        raise ImageError(where, f"a pixel is {brightest}; expected at most {white}, as {reason}")
    if white == np.iinfo(np.uint16).max:
        return stack.astype(np.uint16, copy=False)
    table = ((np.arange(white + 1, dtype=np.uint64) * 65535 + white // 2) // white).astype(
        np.uint16
    )
    return np.asarray(table[stack])
