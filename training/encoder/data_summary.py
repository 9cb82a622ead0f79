"""Description of the training data in lines of text, printed before the first training step."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from training.data.batch_plan import BatchPlan, DayPairs
from training.data.crops import LeftOutImage, PlateCrops
from training.data.records import make_records
from training.data.sampling import label_names, make_table, pair_days
from training.data.sources import CropSplit
from training.objectives.base import BatchNeeds

REASONS_SHOWN, NAMES_SHOWN = 8, 4


def describe_data(
    plates: Sequence[PlateCrops],
    split: CropSplit,
    left_out: Sequence[LeftOutImage],
    plan: BatchPlan,
    needs: BatchNeeds,
) -> list[str]:
    """Return lines on the images used and left out, the plates, measures, labels and days.

    Parameters
    ----------
    plates
        All images, before they are split.
    split
        The images for training and validation.
    left_out
        The images that are not used, with the reasons.
    plan
        The batch plan, which decides labels and pairs of days.
    needs
        The parts of a batch that the objective needs.
    """
    return [
        f"images: {_images(plates)} used, {len(left_out)} left out{_unrecorded(plates)}",
        *_describe_left_out(left_out),
        *_describe_plates(split),
        _describe_measures(plates),
        _describe_labels(plates, plan, needs),
        _describe_days(plates, split.training, plan),
        *_describe_records(split.training, plan),
    ]


def _images(plates: Sequence[PlateCrops]) -> int:
    return sum(len(plate) for plate in plates)


def _unrecorded(plates: Sequence[PlateCrops]) -> str:
    """Return a remark if the crops of a real plate are from a version without such notes."""
    old = sum(plate.notes is None for plate in plates)
    return f" (not recorded for {old} plates in data.cache)" if old else ""


def _describe_left_out(left_out: Sequence[LeftOutImage]) -> list[str]:
    """Return a line for each reason with its number of files and the first names."""
    reasons = Counter(image.reason for image in left_out)
    lines = []
    for reason, count in reasons.most_common(REASONS_SHOWN):
        names = [image.file for image in left_out if image.reason == reason]
        more = ", …" if count > NAMES_SHOWN else ""
        lines.append(f"  left out, {count}: {reason} ({', '.join(names[:NAMES_SHOWN])}{more})")
    rest = reasons.most_common()[REASONS_SHOWN:]
    if rest:
        lines.append(f"  left out, {sum(count for _, count in rest)}: {len(rest)} further reasons")
    return lines


def _describe_plates(split: CropSplit) -> list[str]:
    training, validation = split.training, split.validation
    if split.shared_plate:
        parts = f"{_images(training)} images for training, {_images(validation)} for validation"
        advice = (
            "  wells of one plate share light, focus and cells, so the validation is too good; "
            "add a second plate for a real one"
        )
        return [f"plates: 1, {split.shared_plate}; its wells are split: {parts}", advice]
    names = sorted({plate.plate for plate in validation})
    shown = ", ".join(names[:NAMES_SHOWN]) + (", …" if len(names) > NAMES_SHOWN else "")
    count = len({plate.plate for plate in training})
    line = (
        f"plates: {count + len(names)}; {count} for training with {_images(training)} images, "
        f"{len(names)} for validation with {_images(validation)} images ({shown})"
    )
    return [line]


def _describe_measures(plates: Sequence[PlateCrops]) -> str:
    measured = sum(int(np.isfinite(plate.measures).all(axis=1).sum()) for plate in plates)
    without_scale = sum(plate.notes.without_scale for plate in plates if plate.notes)
    reason = f"; {without_scale} have no scale (um_per_px)" if without_scale else ""
    return f"images with measures of the tissue: {measured} of {_images(plates)}{reason}"


def _describe_labels(plates: Sequence[PlateCrops], plan: BatchPlan, needs: BatchNeeds) -> str:
    counts = Counter(name for name in label_names(plates, plan.label) if name)
    shown = ", ".join(f"{name} {count}" for name, count in counts.most_common(NAMES_SHOWN))
    more = f", and {len(counts) - NAMES_SHOWN} more" if len(counts) > NAMES_SHOWN else ""
    unused = "" if needs.labels else "; the objective uses no labels"
    known = f" ({shown}{more})" if counts else ""
    return (
        f"images with a label ({plan.label}): {sum(counts.values())} of {_images(plates)}"
        f"{known}{unused}"
    )


def _describe_records(training: Sequence[PlateCrops], plan: BatchPlan) -> list[str]:
    """Return a line on the records of the training images, or none if there are no records."""
    if plan.records is None:
        return []
    measures = plan.scale.standardise(training)
    texts = [record.text for record in make_records(training, measures, plan.records.content)]
    known = [text for text in texts if text]
    example = f', such as "{max(known, key=len)}"' if known else ""
    counts = f"{len(known)} of {len(texts)}, of {len(set(known))} kinds"
    return [f"training images with a record: {counts}{example}"]


def _describe_days(
    plates: Sequence[PlateCrops], training: Sequence[PlateCrops], plan: BatchPlan
) -> str:
    days = np.unique(np.concatenate([plate.days for plate in plates]))
    known = ", ".join(str(day) for day in days if day > 0) or "not known"
    if plan.day_pairs is DayPairs.NONE:
        return f"culture days: {known}"
    pairs = pair_days(make_table(training, plan), plan.day_pairs, np.random.default_rng(0))
    count = int((pairs[:, 0] != pairs[:, 1]).sum())
    what = {
        DayPairs.SINCE_DOSING: "of the dosing day and a later day",
        DayPairs.UNTREATED: "of two days of an untreated well",
        DayPairs.ANY: "of two days of a well",
        DayPairs.CONSECUTIVE: "of consecutive days of a well without a drug",
    }[plan.day_pairs]
    alone = "; changes between days are not learned" if not count else ""
    return f"culture days: {known}; training pairs {what}: {count}{alone}"
