"""Read groups of files ahead in a pool, and sort the result of each file."""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from acquisition.drop_folder.image_decoding import ImageLimits, RawImage
from acquisition.drop_folder.image_reading import FileResult, read_digest, read_time, read_versions
from acquisition.drop_folder.retries import Retries
from acquisition.drop_folder.settling import ListedFile, SettlingRules
from acquisition.drop_folder.visits import FileGroup
from schemas.errors import ImageError, IncompleteImageError, MachineError
from schemas.well_image import FileVersion, Rejected

READ_AHEAD = 3
"""Groups that are read before they are needed, so that the encoder never waits for the disk."""

OVERDUE_S = 60.0
"""Time after which a group that is still being read is reported; the share may hang."""

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class ReadGroup:
    """A group of files with the result of reading each file.

    ``images`` is empty unless every file was decoded.
    """

    group: FileGroup
    listed_s: float  # start of the listing that confirmed that the group was ready
    images: tuple[RawImage, ...] = ()  # one for each file, in the order of the group
    changed: tuple[ListedFile, ...] = ()  # the file is gone or is another version now
    unfinished: tuple[ListedFile, ...] = ()  # not decodable before it settled: signalled too early
    incomplete: tuple[ListedFile, ...] = ()  # the end of the file is missing: perhaps being copied
    failures: Mapping[FileVersion, str] = field(default_factory=dict)  # not readable now: why
    refusals: tuple[Rejected, ...] = ()  # one for each file that cannot be decoded


@dataclass(frozen=True)
class _Job:
    """A group that is being read."""

    group: FileGroup
    listed_s: float
    results: Future[tuple[FileResult, ...]]


class GroupReader:
    """Reads groups of files in a pool and returns their results in the order of the requests.

    Parameters
    ----------
    root
        The drop folder.
    rules
        The settings that decide when a file has settled.
    limits
        The largest images that are decoded.
    one_plane_per_file
        Whether each file holds one plane, so that a file with several pages is refused.
    pool
        Runs the reading; it is shut down by :meth:`close`.
    retries
        Gets the files that cannot be read now.
    wake
        Called from another thread when a result is ready.
    most_groups
        The number of groups that are read or wait to be returned at the same time.

    Attributes
    ----------
    undecodable
        The file versions that were refused because they cannot be decoded.
    page_counts
        The number of planes in each decoded file version.
    times
        The acquisition time inside each file version that it was requested for; None without one.
    digests
        The SHA-256 of each file version that it was requested for; empty if it may not be read.
    """

    def __init__(
        self,
        root: Path,
        rules: SettlingRules,
        limits: ImageLimits,
        *,
        one_plane_per_file: bool,
        pool: Executor,
        retries: Retries,
        wake: Callable[[], None],
        most_groups: int = READ_AHEAD,
    ) -> None:
        self._root = root
        self._rules = rules
        self._limits = limits
        self._one_plane_per_file = one_plane_per_file
        self._pool = pool
        self._retries = retries
        self._wake = wake
        self._most_groups = most_groups
        self._jobs: deque[_Job] = deque()
        self._time_jobs: dict[FileVersion, Future[datetime | None]] = {}
        self.undecodable: set[FileVersion] = set()
        self.page_counts: dict[FileVersion, int] = {}
        self.times: dict[FileVersion, datetime | None] = {}
        self._digest_jobs: dict[FileVersion, Future[str | None]] = {}
        self.digests: dict[FileVersion, str] = {}

    @property
    def groups(self) -> tuple[FileGroup, ...]:
        """The groups that are being read."""
        return tuple(job.group for job in self._jobs)

    def overdue(self, now_s: float) -> dict[str, str]:
        """Return the problem of each group that is being read for long, by its first path."""
        return {
            job.group.versions[0].path: f"is being read for more than {OVERDUE_S:.0f} s"
            for job in self._jobs
            if job.results.running() and now_s - job.listed_s > OVERDUE_S
        }

    @property
    def free_places(self) -> int:
        """The number of groups that may be requested now; 0 while the time of a file is being read.

        A file without a known time may belong to an older day, and older days are read first.
        """
        return 0 if self._time_jobs else self._most_groups - len(self._jobs)

    def request(self, group: FileGroup, listed_s: float) -> None:
        """Start to read a group that was ready by the listing that started at ``listed_s``."""
        results = self._pool.submit(
            read_versions,
            self._root,
            group.versions,
            self._limits,
            one_plane=self._one_plane_per_file,
        )
        self._jobs.append(_Job(group, listed_s, self._wake_after(results)))

    def request_times(self, versions: Iterable[FileVersion]) -> None:
        """Start to read the acquisition time inside each file, unless it is known or being read."""
        for version in versions:
            if version not in self._time_jobs and version not in self.times:
                time = self._pool.submit(read_time, self._root, version)
                self._time_jobs[version] = self._wake_after(time)

    def request_digests(self, versions: Iterable[FileVersion]) -> None:
        """Start to read the digest of each file, unless it is known, being read or failed now."""
        for version in versions:
            is_new = version not in self._digest_jobs and version not in self.digests
            if is_new and self._retries.is_due(version):
                digest = self._pool.submit(read_digest, self._root, version)
                self._digest_jobs[version] = self._wake_after(digest)

    def has_results(self) -> bool:
        """Return whether the oldest group, or the time or digest of any file, has been read."""
        first_is_read = bool(self._jobs) and self._jobs[0].results.done()
        return (
            first_is_read
            or any(job.done() for job in self._time_jobs.values())
            or any(job.done() for job in self._digest_jobs.values())
        )

    def collect_times(self) -> bool:
        """Move the times that were read to the attribute ``times``; return if there were any."""
        read = [version for version, job in self._time_jobs.items() if job.done()]
        for version in read:
            try:
                self.times[version] = self._time_jobs.pop(version).result()
                self._retries.forget([version])
            except MachineError as error:
                self._retries.add_failure(version, error.problem)
        return bool(read)

    def collect_digests(self) -> bool:
        """Move the digests that were read to the attribute ``digests``; return if there were any.

        A file that is gone or changed has no digest; the next listing shows its new version.
        """
        read = [version for version, job in self._digest_jobs.items() if job.done()]
        for version in read:
            try:
                digest = self._digest_jobs.pop(version).result()
            except MachineError as error:
                self._retries.add_failure(version, error.problem)
                continue
            if digest is not None:
                self.digests[version] = digest
        return bool(read)

    def pop(self) -> ReadGroup | None:
        """Remove the oldest group and return it with its results; None if it is not read yet."""
        if not self._jobs or not self._jobs[0].results.done():
            return None
        job = self._jobs.popleft()
        read = sort_results(job.group, job.results.result(), job.listed_s, self._rules)
        for version, problem in read.failures.items():
            self._retries.add_failure(version, problem)
        for file in read.incomplete:
            self._retries.wait_until(file.version, file.whole_at_s(self._rules))
        self.undecodable.update(version for refusal in read.refusals for version in refusal.files)
        self.page_counts.update(
            (version, len(image.planes))
            for version, image in zip(job.group.versions, read.images, strict=False)
        )
        return read

    def keep_only(self, is_listed: Callable[[FileVersion], bool]) -> None:
        """Forget what was read of all versions except those that are listed now."""
        self.undecodable.difference_update(
            [each for each in self.undecodable if not is_listed(each)]
        )
        for known in (self.page_counts, self.times, self.digests):
            for version in [each for each in known if not is_listed(each)]:
                del known[version]

    def close(self) -> None:
        """Stop the pool; groups whose reading has not started are dropped. Safe to call twice."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _wake_after(self, job: Future[Result]) -> Future[Result]:
        """Return the job, which calls ``wake`` when it ends."""
        job.add_done_callback(lambda _: self._wake())
        return job


def sort_results(
    group: FileGroup,
    results: tuple[FileResult, ...],
    listed_s: float,
    rules: SettlingRules,
) -> ReadGroup:
    """Return the ReadGroup of a group: its file results as images, changed, unfinished, refused.

    If a file changed, nothing else is concluded: the other files are read again with its new
    version. A file that cannot be decoded is refused only if it had settled by the listing. Before
    that its completion signal came too early: a TIFF that is appended page by page is closed after
    each page.

    A file whose end is missing is refused only after the time that missing planes are waited for.
    If a file cannot be read because of this computer, nothing is concluded about the file.

    Parameters
    ----------
    group
        The files.
    results
        The decoded image, the error or None (the file changed) of each file.
    listed_s
        The start of the listing that confirmed that the group was ready.
    rules
        The settings that decide when a file has settled.
    """
    pairs = list(zip(group.files, results, strict=True))
    if changed := tuple(file for file, result in pairs if result is None):
        return ReadGroup(group, listed_s, changed=changed)
    failures = {
        file.version: result.problem for file, result in pairs if isinstance(result, MachineError)
    }
    failed = [(file, result) for file, result in pairs if isinstance(result, ImageError)]
    if not failures and not failed:
        images = tuple(result for result in results if isinstance(result, RawImage))
        return ReadGroup(group, listed_s, images)
    unfinished, incomplete, refused = [], [], []
    for file, error in failed:
        if file.settled_at_s(rules) > listed_s:
            unfinished.append(file)
        elif isinstance(error, IncompleteImageError) and file.whole_at_s(rules) > listed_s:
            incomplete.append(file)
        else:
            refused.append(
                Rejected((file.version,), error.problem, group.key.plate, group.key.well)
            )
    return ReadGroup(
        group,
        listed_s,
        unfinished=tuple(unfinished),
        incomplete=tuple(incomplete),
        failures=failures,
        refusals=tuple(refused),
    )
