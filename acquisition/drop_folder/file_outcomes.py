"""Record which file versions have an outcome, and queue the results to return next."""

from collections import Counter, deque
from collections.abc import Collection, Iterable
from dataclasses import replace

from acquisition.ports import EndedFiles
from schemas.well_image import FileVersion, Rejected, WellImage

_Stamp = tuple[int, int]  # size and time of a file version


class FileOutcomes:
    """The versions of the listed files that need no more work: part of a well image, or refused.

    Parameters
    ----------
    recorded
        The outcomes that were recorded before.
    """

    def __init__(self, recorded: EndedFiles) -> None:
        self._recorded = recorded
        self._ended: dict[str, tuple[_Stamp, ...]] = {}  # by path
        self._discarded: dict[str, set[_Stamp]] = {}  # by path: whose outcome was forgotten

    def __contains__(self, version: object) -> bool:
        return isinstance(version, FileVersion) and _stamp(version) in self._ended.get(
            version.path, ()
        )

    def include_a_path_of(self, versions: Iterable[FileVersion]) -> bool:
        """Return whether this or an earlier version of one of these files has an outcome."""
        return any(
            self._ended.get(version.path) or version.path in self._discarded for version in versions
        )

    def read(self, paths: Collection[str]) -> None:
        """Read the recorded outcomes of the listed paths, and forget those of all other paths.

        Raises
        ------
        StoreError
            If the outcomes cannot be read; some of them may then be missing until the next call.
        """
        for path in self._ended.keys() - paths:
            del self._ended[path]
        new = [path for path in paths if path not in self._ended]
        if not new:
            return
        found: dict[str, tuple[_Stamp, ...]] = dict.fromkeys(new, ())
        for version in self._recorded.ended_files(new):
            if _stamp(version) not in self._discarded.get(version.path, ()):
                found[version.path] = (*found[version.path], _stamp(version))
        self._ended |= found

    def add(self, versions: Iterable[FileVersion]) -> None:
        """Record that these file versions have an outcome."""
        for version in versions:
            if version not in self:
                known = self._ended.get(version.path, ())
                self._ended[version.path] = (*known, _stamp(version))
            self._discarded.get(version.path, set()).discard(_stamp(version))

    def discard(self, versions: Iterable[FileVersion]) -> None:
        """Forget the outcome of these file versions; they stay earlier versions of their files."""
        for version in versions:
            stamp = _stamp(version)
            known = self._ended.get(version.path, ())
            self._ended[version.path] = tuple(each for each in known if each != stamp)
            self._discarded.setdefault(version.path, set()).add(stamp)


def _stamp(version: FileVersion) -> _Stamp:
    return version.size, version.mtime_ns


class ResultQueue:
    """The well images and refusals to return next, oldest first.

    Adding a result records the outcome of its files.
    """

    def __init__(self, outcomes: FileOutcomes) -> None:
        self._outcomes = outcomes
        self._results: deque[WellImage | Rejected] = deque()

    def __len__(self) -> int:
        return len(self._results)

    def add_image(self, image: WellImage) -> None:
        """Queue a well image."""
        self._outcomes.add(image.files)
        self._results.append(image)

    def add_refusal(self, refusal: Rejected) -> None:
        """Queue a refusal, without those of its files that already have an outcome."""
        files = tuple(version for version in refusal.files if version not in self._outcomes)
        if files:
            self._outcomes.add(files)
            self._results.append(replace(refusal, files=files))

    def pop(self) -> WellImage | Rejected | None:
        """Remove the oldest result and return it; None if there is no result."""
        return self._results.popleft() if self._results else None

    def count_by_plate(self) -> Counter[str]:
        """Return the number of queued results of each plate."""
        return Counter(
            result.key.plate if isinstance(result, WellImage) else result.plate
            for result in self._results
        )
