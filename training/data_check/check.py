"""The whole check of training images: doubts about labels, copies, wells, days and plates."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from inference.ranking.label_audit import ACCEPTED_PROBABILITY
from schemas.errors import OutputError
from training.data.crops import PlateCrops
from training.data_check.doubts import DataDoubt
from training.data_check.duplicates import find_duplicates
from training.data_check.exchanges import find_exchanges
from training.data_check.labels import audit_plate
from training.data_check.trajectories import MIN_IMAGED_WELLS, plate_trajectories

COLUMNS = ("probability", "kind", "images", "sentence")


@dataclass(frozen=True)
class DataCheck:
    """The result of a check: the doubts, the most probable first, and the checks left out."""

    images: int
    doubts: tuple[DataDoubt, ...]
    not_checked: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return the result as lines of text."""
        probable = sum(each.probability >= ACCEPTED_PROBABILITY for each in self.doubts)
        summary = (
            f"{self.images} images checked; {len(self.doubts)} doubts, {probable} of them with a "
            f"probability of {ACCEPTED_PROBABILITY} or more"
        )
        return [
            *(f"{min(each.probability, 0.99):.2f}  {each.sentence}" for each in self.doubts),
            *(f"not checked: {each}" for each in self.not_checked),
            summary,
        ]


def check_data(plates: Sequence[PlateCrops]) -> DataCheck:
    """Return the DataCheck of all images of all plates. No image and no label is changed.

    An image that seems to be a copy is not reported again as a foreign or exchanged image.
    """
    not_checked: list[str] = []
    copies = find_duplicates(plates)
    copied = {image for doubt in copies for image in doubt.images}
    doubts = list(copies)
    models = []
    for plate in plates:
        of_labels, reason = audit_plate(plate)
        doubts += of_labels
        if reason:
            not_checked.append(f"labels of plate {plate.plate}, because {reason}")
        if (model := plate_trajectories(plate)) is not None:
            models.append(model)
        else:
            not_checked.append(
                f"wells and days of plate {plate.plate}, because fewer than {MIN_IMAGED_WELLS} "
                "wells have measured images of two known days"
            )
    doubts += [each for each in find_exchanges(models) if not copied.intersection(each.images)]
    ordered = sorted(doubts, key=lambda each: (-each.probability, each.sentence))
    return DataCheck(sum(map(len, plates)), tuple(ordered), tuple(not_checked))


def write_doubts(check: DataCheck, path: Path) -> None:
    """Write the doubts of a check as CSV, one row each; images are separated by semicolons.

    Raises
    ------
    OutputError
        If the file cannot be written.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            for each in check.doubts:
                images = "; ".join(map(str, each.images))
                writer.writerow((f"{each.probability:.4f}", each.kind, images, each.sentence))
    except OSError as error:
        raise OutputError(
            path, f"cannot be written: {error.strerror}; expected a path in a writable folder"
        ) from error
