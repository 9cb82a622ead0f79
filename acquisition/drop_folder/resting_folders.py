"""Folders of closed plates, which are listed about once an hour and not at every poll.

A folder rests while every file in it has an outcome, every plate in it is closed, and no other
folder has a file of these plates. A file event in it, or a listing that differs, ends this. The
modification time of a folder is not used: it does not change when a file is replaced.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property

from acquisition.drop_folder.name_marks import name_of_original, plate_key
from schemas.closed_folder import ClosedFolder
from schemas.well_image import FileVersion

LONGEST_REST_S = 3000.0
"""Longest time from one listing of a resting folder to the next; less than an hour."""


@dataclass(frozen=True)
class PlacedImage:
    """A listed image file, its plate, and the folder that holds the images of the plate."""

    path: str
    plate: str
    folder: str  # "" for the drop folder itself


@dataclass(frozen=True)
class RestingFolder:
    """A resting folder as it was last listed."""

    folder: ClosedFolder
    listed_s: float = float("-inf")  # -inf: not since the start of this process
    passed_over: Mapping[str, int] = field(default_factory=dict)  # files by ending

    @cached_property
    def keys(self) -> frozenset[str]:
        """The ids of the plates for comparison."""
        return frozenset(map(plate_key, self.folder.plates))


class RestingFolders:
    """The resting folders of a drop folder, by path."""

    def __init__(self) -> None:
        self._folders: dict[str, RestingFolder] = {}
        self._awoken: dict[str, RestingFolder] = {}  # whose plate maps are not read again yet
        self._settled_at_s: dict[str, float] = {}  # of awoken folders that were listed
        self._turn_s = float("-inf")  # time up to which listings of resting folders were due

    def __contains__(self, path: object) -> bool:
        return path in self._folders

    def __len__(self) -> int:
        return len(self._folders)

    @property
    def passed_over(self) -> Counter[str]:
        """The number of files that are never read, by ending."""
        total: Counter[str] = Counter()
        for each in self._folders.values():
            total.update(each.passed_over)
        return total

    @property
    def awoken_plates(self) -> set[str]:
        """The ids of the plates whose maps and assays are read again soon."""
        return {plate for each in self._awoken.values() for plate in each.folder.plates}

    @property
    def unlisted_keys(self) -> set[str]:
        """The keys of the plates with a folder whose plate maps are not known."""
        folders = (*self._folders.values(), *self._awoken.values())
        return {key for each in folders for key in each.keys}

    @property
    def were_listed(self) -> bool:
        """True if a resting folder was listed since the start of this process."""
        return any(each.listed_s > float("-inf") for each in self._folders.values())

    def missing(self, present: Container[str]) -> list[str]:
        """Return the resting folders that are not among the present ones."""
        return [path for path in self._folders if path not in present]

    def add(self, resting: RestingFolder) -> None:
        """Let a folder rest, or record that it was listed again without a change."""
        self._folders[resting.folder.path] = resting
        self._awoken.pop(resting.folder.path, None)

    def wake(self, paths: Iterable[str]) -> None:
        """End the rest of folders: the next listing includes them."""
        for path in list(paths):
            if path in self._folders:
                self._awoken[path] = self._folders.pop(path)
                self._settled_at_s.pop(path, None)

    def note_listing(self, started_s: float, ended_s: float, settle_s: float) -> None:
        """Record that every folder that does not rest was listed.

        Parameters
        ----------
        started_s, ended_s
            The time of the listing.
        settle_s
            Time without a change after which a file has settled and is read.
        """
        for path in list(self._awoken):
            if self._settled_at_s.setdefault(path, ended_s + settle_s) <= started_s:
                del self._awoken[path], self._settled_at_s[path]

    def around(self, paths: Iterable[str]) -> list[str]:
        """Return the resting folders that some paths are in or equal to."""
        found = {folder_around(path, self._folders) for path in paths}
        return sorted(path for path in found if path is not None)

    def not_closed(self, closed: AbstractSet[str]) -> list[str]:
        """Return the folders with a plate that is not among the closed ones any more."""
        return [path for path, each in self._folders.items() if not each.folder.plates <= closed]

    def of_plates(self, plates: Iterable[str]) -> list[str]:
        """Return the folders of plates (ids), or of the originals of copied folders' names."""
        keys = {key for plate in plates for key in _keys_of(plate)}
        return [path for path, each in self._folders.items() if not keys.isdisjoint(each.keys)]

    def due(self, now_s: float) -> list[RestingFolder]:
        """Return the folders to list now, those first whose listing is the oldest.

        Each folder is listed once in ``LONGEST_REST_S``. The listings are spread over this time.
        """
        in_order = sorted(self._folders.values(), key=lambda each: each.listed_s)
        unlisted = sum(each.listed_s == float("-inf") for each in in_order)
        if unlisted or not in_order:
            self._turn_s = now_s
            return in_order[:unlisted]
        interval_s = LONGEST_REST_S / len(in_order)
        turns = int((now_s - self._turn_s) / interval_s)
        self._turn_s += turns * interval_s
        return in_order[:turns]


def folders_to_close(
    images: Iterable[PlacedImage],
    map_folders: Mapping[str, str],
    usable: AbstractSet[str],
    files: Iterable[str],
    is_done: Callable[[str], bool],
) -> dict[str, frozenset[str]]:
    """Return the plates of each folder that may rest, by the path of the folder.

    Parameters
    ----------
    images
        The listed images whose names were parsed.
    map_folders
        The folder of each plate map, by plate.
    usable
        The closed plates whose plate map and assay were read and are valid.
    files
        The paths of all listed files.
    is_done
        Whether nothing is left to do for a listed file.
    """
    plates_in: defaultdict[str, set[str]] = defaultdict(set)
    folders_of: defaultdict[str, set[str]] = defaultdict(set)
    plate_at: dict[str, str] = {}
    for image in images:
        plates_in[image.folder].add(image.plate)
        folders_of[image.plate].add(image.folder)
        plate_at[image.path] = image.plate
    for plate, folder in map_folders.items():
        nearest = folder_around(folder, plates_in) or ""
        plates_in[nearest].add(plate)
        folders_of[plate].add(nearest)
    closing = {
        folder
        for folder, plates in plates_in.items()
        if folder
        and plates <= usable & map_folders.keys()
        and folder_around(folder.rpartition("/")[0], plates_in) is None
    }
    for path in files:
        inside = folder_around(path, closing)
        if inside is not None and not (
            is_done(path) and plate_at.get(path, "") in {*plates_in[inside], ""}
        ):
            closing.discard(inside)
    while spread := {
        folder
        for folder in closing
        if any(folders_of[plate] - closing for plate in plates_in[folder])
    }:
        closing -= spread
    return {folder: frozenset(plates_in[folder]) for folder in closing}


def folder_around(path: str, folders: Container[str]) -> str | None:
    """Return the path itself or the nearest of its parents that is among some folders, or None."""
    while path:
        if path in folders:
            return path
        path = path.rpartition("/")[0]
    return None


def fingerprint_of(versions: Iterable[FileVersion], basis: str) -> str:
    """Return SHA-256 of the versions of all files of a folder, and of a text of settings."""
    lines = sorted(f"{each.path}\0{each.size}\0{each.mtime_ns}" for each in versions)
    return hashlib.sha256("\n".join([basis, *lines]).encode("utf-8", "surrogatepass")).hexdigest()


def _keys_of(plate: str) -> set[str]:
    """Return the keys of a plate id and of the id without the mark of a copied folder."""
    original = name_of_original(plate)
    return {plate_key(plate)} | ({plate_key(original)} if original is not None else set())
