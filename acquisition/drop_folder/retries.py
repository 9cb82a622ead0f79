"""Decide when to read a file again that could not be read, or whose end is missing."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from schemas.well_image import FileVersion

FIRST_PAUSE_S = 1.0
"""Pause before the second attempt; each further pause is twice as long."""

LONGEST_PAUSE_S = 300.0

REPORTED_ATTEMPTS = 4
"""Failed attempts after which a file is reported, about 7 s after the first."""


@dataclass(frozen=True)
class _Failure:
    """The failed attempts to read one version of a file."""

    problem: str
    attempts: int
    retry_at_s: float


class Retries:
    """The file versions to be read again, each with the time of its next attempt.

    Parameters
    ----------
    clock
        Returns seconds that never decrease.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures: dict[FileVersion, _Failure] = {}
        self._waits_s: dict[FileVersion, float] = {}

    def add_failure(self, version: FileVersion, problem: str) -> None:
        """Record a failed attempt to read a version, with its problem; the next pause is longer."""
        earlier = self._failures.get(version)
        attempts = earlier.attempts + 1 if earlier else 1
        pause_s = min(FIRST_PAUSE_S * 2 ** min(attempts - 1, 30), LONGEST_PAUSE_S)
        self._failures[version] = _Failure(problem, attempts, self._clock() + pause_s)

    def wait_until(self, version: FileVersion, moment_s: float) -> None:
        """Let a file version whose end is missing wait until a time in s."""
        self._waits_s[version] = moment_s

    def forget(self, versions: Iterable[FileVersion]) -> None:
        """Forget versions that have an outcome, or that are no longer listed."""
        for version in versions:
            self._failures.pop(version, None)
            self._waits_s.pop(version, None)

    def keep_only(self, is_listed: Callable[[FileVersion], bool]) -> None:
        """Forget all versions except those that are listed now."""
        self.forget([each for each in {*self._failures, *self._waits_s} if not is_listed(each)])

    def retry_at_s(self, versions: Iterable[FileVersion]) -> float:
        """Return the time in s from which all versions may be read; -inf if none waits."""
        return max(map(self._retry_at_s, versions), default=float("-inf"))

    def is_due(self, version: FileVersion) -> bool:
        """Return whether a version may be read now."""
        return self._retry_at_s(version) <= self._clock()

    def problems(self) -> Mapping[str, str]:
        """Return the problem of each file, by path, that failed repeatedly."""
        return {
            version.path: failure.problem
            for version, failure in self._failures.items()
            if failure.attempts >= REPORTED_ATTEMPTS
        }

    def is_reported(self, versions: Iterable[FileVersion]) -> bool:
        """Return whether one of these versions failed repeatedly."""
        return any(
            failure.attempts >= REPORTED_ATTEMPTS
            for version in versions
            if (failure := self._failures.get(version))
        )

    def _retry_at_s(self, version: FileVersion) -> float:
        failure = self._failures.get(version)
        return max(
            failure.retry_at_s if failure else float("-inf"),
            self._waits_s.get(version, float("-inf")),
        )
