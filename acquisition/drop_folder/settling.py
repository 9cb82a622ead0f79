"""When files are whole and well images ready: pure functions of what was seen of the listing, by our own clock.

The robot's clock is never compared with ours. What these functions return is compared with the start of the newest listing: only a listing can
confirm that a file is still as it was.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from schemas.well_image import FileVersion

READY_SUFFIX = ".ready"
_DAY_DONE = re.compile(r"day(\d+)\.done", re.IGNORECASE)


@dataclass(frozen=True)
class SettlingRules:
    """The settings that decide when a file is whole and a well image ready."""

    planes: int  # of a well image
    settle_s: float
    plane_timeout_s: float
    once: bool = False  # take what is there: do not wait for planes that may still come


@dataclass(frozen=True)
class SeenFile:
    """One file of the newest listing."""

    version: FileVersion
    since_s: float  # by our monotonic clock, the end of the listing in which this size and time of change were first seen
    announced: bool = (
        False  # a close event, a rename into place or a marker said that this version is whole
    )

    def whole_at_s(self, rules: SettlingRules) -> float:
        """Return when the file counts as whole if it does not change any more; minus infinity if it does already."""
        return float("-inf") if self.announced else self.settled_at_s(rules)

    def settled_at_s(self, rules: SettlingRules) -> float:
        """Return when the file has settled if it does not change any more, whatever was announced."""
        return self.since_s + rules.settle_s


def observe(
    seen: Mapping[str, SeenFile],
    listing: Iterable[FileVersion],
    announced: Collection[FileVersion],
    now_s: float,
) -> dict[str, SeenFile]:
    """Return what is known after one more listing, which ended at ``now_s``: a file that changed starts to settle anew."""
    known: dict[str, SeenFile] = {}
    for version in listing:
        file = seen.get(version.path)
        if file is None or file.version != version:
            file = SeenFile(version, now_s)
        if not file.announced and version in announced:
            file = replace(file, announced=True)
        known[version.path] = file
    return known


def ready_at_s(
    files: Sequence[SeenFile], planes_found: int | None, rules: SettlingRules, *, reopened: bool
) -> float:
    """Return when the files of one well image are ready to be taken if none of them changes any more.

    Parameters
    ----------
    files
        All that is there of the well image.
    planes_found
        How many planes they hold; None while a file's pages have not been counted.
    rules
        The settings.
    reopened
        Some of it was taken before. Then the robot is replacing or adding planes, and until none has changed for ``settle_s`` it may
        replace more: an announcement speaks for one file only, so it does not end this wait.
    """
    settled_s = max(
        file.settled_at_s(rules) if reopened else file.whole_at_s(rules) for file in files
    )
    if rules.once or planes_found is None or planes_found >= rules.planes:
        return settled_s
    return max(settled_s, max(file.since_s for file in files) + rules.plane_timeout_s)


def announced_by_markers(
    images: Mapping[str, int | None], listing: Mapping[str, FileVersion]
) -> set[FileVersion]:
    """Return the versions of ``images`` (path: day in the name) that a ready marker says are whole.

    ``B02_z1.tif.ready`` speaks for the file beside it; ``day10.done`` for the images of day 10 in its folder and below. A marker older than the
    file, both by the robot's clock, speaks for an earlier version and does not count.
    """
    done: dict[tuple[str, int], int] = {}
    for path, marker in listing.items():
        if match := _DAY_DONE.fullmatch(path.rsplit("/", 1)[-1]):
            done[str(PurePosixPath(path).parent), int(match[1])] = marker.mtime_ns
    announced = set()
    for path, day in images.items():
        version = listing[path]
        ready = listing.get(path + READY_SUFFIX)
        markers = [ready.mtime_ns] if ready else []
        if done and day is not None:
            markers += [
                done[str(folder), day]
                for folder in PurePosixPath(path).parents
                if (str(folder), day) in done
            ]
        if any(mtime_ns >= version.mtime_ns for mtime_ns in markers):
            announced.add(version)
    return announced
