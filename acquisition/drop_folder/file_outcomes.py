"""Record which file versions have an outcome, and queue the results to return next."""

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import replace

from schemas.well_image import FileVersion, Rejected, WellImage


class FileOutcomes:
    """The file versions that need no more work: part of a well image, or refused.

    Parameters
    ----------
    ended
        The versions whose outcome was recorded before this process started.
    """

    def __init__(self, ended: Iterable[FileVersion] = ()) -> None:
        self._versions = set(ended)
        self._paths = {version.path for version in self._versions}

    def __contains__(self, version: object) -> bool:
        return version in self._versions

    def include_a_path_of(self, versions: Iterable[FileVersion]) -> bool:
        """Return whether this or an earlier version of one of these files has an outcome."""
        return any(version.path in self._paths for version in versions)

    def add(self, versions: Iterable[FileVersion]) -> None:
        """Record that these file versions have an outcome."""
        for version in versions:
            self._versions.add(version)
            self._paths.add(version.path)

    def discard(self, versions: Iterable[FileVersion]) -> None:
        """Forget the outcome of these file versions; they stay earlier versions of their files."""
        self._versions.difference_update(versions)


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
