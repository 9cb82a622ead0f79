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
    """Return the mask file of each image: its path below the folder that all images share.

    A mask is named ``<stem>.png``, or ``<name with extension>.png`` where two images of one folder
    have one stem.

    Parameters
    ----------
    images
        Image files from any number of folders.
    folder
        The folder of the masks.
    """
    resolved = {image: image.resolve() for image in images}
    shared = os.path.commonpath([path.parent for path in resolved.values()]) if images else ""
    stems = {
        image: path.parent.relative_to(shared) / f"{path.stem}.png"
        for image, path in resolved.items()
    }
    # Some file systems do not distinguish upper and lower case.
    uses = Counter(str(stems[image]).lower() for image in {resolved[i]: i for i in images}.values())
    return {
        image: folder
        / (stem if uses[str(stem).lower()] == 1 else stem.with_name(f"{resolved[image].name}.png"))
        for image, stem in stems.items()
    }
