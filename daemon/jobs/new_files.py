"""Names of output files that replace neither each other nor a file of an earlier run."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from schemas.errors import OutputError


def check_new(paths: Iterable[Path]) -> None:
    """Raise OutputError if one of these output files exists."""
    for path in paths:
        if path.exists():
            raise OutputError(path, "exists; expected the name of a new file")


def mask_files(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Return the mask file of each image: ``<stem>.png`` if no other image has the stem.

    Otherwise the mask is in the subfolder of the image, below the folder that all images share. If
    two images of one folder have one stem, the mask is ``<name with extension>.png``.

    Parameters
    ----------
    images
        Image files from any number of folders.
    folder
        The folder of the masks.
    """
    resolved = {image: image.resolve() for image in images}
    different = set(resolved.values())
    shared = os.path.commonpath([path.parent for path in different]) if images else ""

    def in_subfolder(path: Path) -> Path:
        return path.parent.relative_to(shared) / f"{path.stem}.png"

    # Some file systems do not distinguish upper and lower case.
    stems = Counter(path.stem.lower() for path in different)
    places = Counter(str(in_subfolder(path)).lower() for path in different)

    def mask_of(path: Path) -> Path:
        if stems[path.stem.lower()] == 1:
            return Path(f"{path.stem}.png")
        place = in_subfolder(path)
        return place if places[str(place).lower()] == 1 else place.with_name(f"{path.name}.png")

    return {image: folder / mask_of(path) for image, path in resolved.items()}
