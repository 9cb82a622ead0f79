"""Decide from listings of the drop folder when a file is finished and a well image is ready.

All times are seconds of this computer's monotonic clock, which is never compared with the robot's
clock. The functions return the earliest time at which a file or a group of files is finished. The
caller compares that time with the start of the newest listing, because only a listing can confirm
that a file has not changed.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from acquisition.drop_folder.naming import ParsedName
from schemas.errors import ImageError
from schemas.well_image import FileVersion

READY_SUFFIX = ".ready"
_DAY_DONE = re.compile(r"day(\d+)\.done", re.IGNORECASE)


@dataclass(frozen=True)
class SettlingRules:
    """The settings that decide when a file is finished and when a well image is ready."""

    planes: int  # of a complete well image
    settle_s: float  # a file that has not changed for this long has settled
    plane_timeout_s: float  # an incomplete well image is ready after this long without a change
    once: bool = False  # do not wait for missing planes


@dataclass(frozen=True)
class ListedFile:
    """One file of the newest listing, with the time since which it is unchanged."""

    version: FileVersion
    unchanged_since_s: float  # the end of the first listing that contained this version
    signalled: bool = False  # a close event, a rename into place or a marker said it is complete

    def finished_at_s(self, rules: SettlingRules) -> float:
        """Return the time in s at which the file is finished by the rules unless it changes again.

        A file whose completion was signalled is finished already: the result is minus infinity.
        """
        return float("-inf") if self.signalled else self.settled_at_s(rules)

    def settled_at_s(self, rules: SettlingRules) -> float:
        """Return the time in s at which the file has settled without a signal unless it changes."""
        return self.unchanged_since_s + rules.settle_s

    def whole_at_s(self, rules: SettlingRules) -> float:
        """Return the time in s until which a slow copy may still write a file without its end."""
        wait_s = 0.0 if rules.once else rules.plane_timeout_s
        return max(self.settled_at_s(rules), self.unchanged_since_s + wait_s)


@dataclass(frozen=True)
class Listing:
    """The files of the drop folder at one moment, with the parsed names of the image files."""

    started_s: float = float("-inf")  # a file that is in two listings was unchanged between them
    files: Mapping[str, ListedFile] = field(default_factory=dict)  # by path
    names: Mapping[str, ParsedName | ImageError] = field(default_factory=dict)  # of image files

    def confirms(self, moment_s: float) -> bool:
        """Return whether the listing started at or after a time in s."""
        return moment_s <= self.started_s


def merge_listing(
    earlier: Mapping[str, ListedFile],
    versions: Iterable[FileVersion],
    signalled: Collection[FileVersion],
    now_s: float,
) -> dict[str, ListedFile]:
    """Return the listed files by path after one more listing; changed files start to settle again.

    Parameters
    ----------
    earlier
        The files of the listing before, by path.
    versions
        All files of the new listing.
    signalled
        The versions that a completion signal was received for.
    now_s
        The end of the new listing.
    """
    files: dict[str, ListedFile] = {}
    for version in versions:
        file = earlier.get(version.path)
        if file is None or file.version != version:
            file = ListedFile(version, now_s)
        if not file.signalled and version in signalled:
            file = replace(file, signalled=True)
        files[version.path] = file
    return files


def ready_at_s(
    files: Sequence[ListedFile], planes_found: int | None, rules: SettlingRules, *, reopened: bool
) -> float:
    """Return the time in s at which the files of a well image are ready if none of them changes.

    Parameters
    ----------
    files
        All files of the well image that exist now.
    planes_found
        The number of planes in these files; None while the pages of a file have not been counted.
    rules
        The settings.
    reopened
        Whether an earlier version of one of these files has an outcome. The robot is then replacing
        or adding planes and may replace more of them. So all files have to settle: a completion
        signal is about one file only.
    """
    finished_s = max(
        file.settled_at_s(rules) if reopened else file.finished_at_s(rules) for file in files
    )
    if rules.once or planes_found is None or planes_found >= rules.planes:
        return finished_s
    last_change_s = max(file.unchanged_since_s for file in files)
    return max(finished_s, last_change_s + rules.plane_timeout_s)


def is_marker(path: str) -> bool:
    """Return whether a file is a marker that signals complete image files."""
    name = path.rsplit("/", 1)[-1]
    return name.endswith(READY_SUFFIX) or _DAY_DONE.fullmatch(name) is not None


def versions_with_markers(
    days: Mapping[str, int | None], versions: Mapping[str, FileVersion]
) -> set[FileVersion]:
    """Return the versions of image files that a marker file signals to be complete.

    ``B02_z1.tif.ready`` is the marker of the file beside it; ``day10.done`` is the marker of all
    images of day 10 in its folder and below. A marker that is older than the image file, both by
    the robot's clock, belongs to an earlier version and is ignored.

    Parameters
    ----------
    days
        The culture day in the name of each image file, by path; None where the name has no day.
    versions
        All files of the listing, by path: images and markers.
    """
    done_ns: dict[tuple[str, int], int] = {}  # by folder and day: time of the marker
    for path, marker in versions.items():
        if match := _DAY_DONE.fullmatch(path.rsplit("/", 1)[-1]):
            done_ns[str(PurePosixPath(path).parent), int(match[1])] = marker.mtime_ns
    signalled = set()
    for path, day in days.items():
        version = versions[path]
        ready = versions.get(path + READY_SUFFIX)
        markers_ns = [ready.mtime_ns] if ready else []
        if done_ns and day is not None:
            markers_ns += [
                done_ns[str(folder), day]
                for folder in PurePosixPath(path).parents
                if (str(folder), day) in done_ns
            ]
        if any(mtime_ns >= version.mtime_ns for mtime_ns in markers_ns):
            signalled.add(version)
    return signalled
