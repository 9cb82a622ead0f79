"""Measures stored images again by the present method: segmenter, measures and stain bundle.

Measures by different methods are never compared. The images of a plate are replaced in one
transaction, so that no ranking uses a part of them.
"""

from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import structlog

from daemon.child_processes import prepare_child_process
from daemon.config_sections import SourceSection
from daemon.stored_images import (
    check_has_files,
    read_stored_image,
    results_in_order,
    worker_pool,
)
from daemon.tissue_analysis import TissueMethod, analyse_tissue
from inference.tissue.picture import draw_outline_picture
from schemas.errors import ConfigError, ImageError, MachineError, SourceGoneError
from schemas.machine_faults import is_machine_fault, reason_of
from schemas.observation import NewMeasures, StoredImage, VisitVersion
from store.ports import MeasureLedger

log = structlog.get_logger()

LIMIT_S = 60.0
"""Longest wait for the measures of one image; a usual well image takes a tenth of a second."""


@dataclass(frozen=True)
class MeasuringAgain:
    """Replaces the measures of stored images, in worker processes that read their files.

    Parameters
    ----------
    open_tissue
        Opens the present method, in each worker process.
    measured_by
        Name of the present method.
    jobs
        Number of worker processes.
    tick
        Called at least every half second; it may raise an exception to end the work.
    is_source_gone
        Returns whether the images cannot be read now.
    limit_s
        Longest wait for the measures of one image.
    """

    ledger: MeasureLedger
    source: SourceSection
    open_tissue: Callable[[], TissueMethod]
    measured_by: str
    jobs: int
    tick: Callable[[], None] = lambda: None
    is_source_gone: Callable[[], bool] = lambda: False
    limit_s: float = LIMIT_S
    _tried: set[int] = field(default_factory=set)  # ids of images that cannot be measured again

    def measure(
        self, plates: Iterable[str], only: Collection[int] | None = None
    ) -> Generator[tuple[StoredImage, str]]:
        """Measure the images of plates by other methods; yield each with a reason against it.

        The reason is empty if the image was measured again. An image that cannot be measured keeps
        its measures. The results of a plate are committed together, after its last image. A fault
        of this computer is raised after the last plate.

        Parameters
        ----------
        only
            Ids of the observations to measure; None for all of each plate.

        Raises
        ------
        SourceGoneError
            If the folder of the images is missing or empty: no file is then called missing.
        MachineError
            If memory, disk or network failed for an image; the others are measured. If the folder
            of the images does not answer, no further image is measured.
        ConfigError
            If a worker process was killed.
        """
        fault: MachineError | None = None
        limits = self.tick, self.limit_s
        with worker_pool(self.jobs, _open_worker, self.open_tissue, self.source) as pool:
            # Only the workers access the folder: one that hangs does not stop this process.
            list(results_in_order(pool, check_has_files, [self.source.path], *limits))
            for plate in plates:
                images = [
                    image
                    for image in self.ledger.images_to_measure(plate, self.measured_by)
                    if only is None or image.observation_id in only
                ]
                done: list[NewMeasures] = []
                results = results_in_order(pool, _measure, images, *limits)
                for image, result in zip(images, results, strict=True):
                    if isinstance(result, NewMeasures):
                        done.append(result)
                        yield image, ""
                        continue
                    if isinstance(result, MachineError):
                        fault = result
                    yield image, str(result)
                self.ledger.replace_measures(done, self.measured_by)
        if fault is not None:
            raise fault

    def bring_up_to_date(self, plate: str, images: Sequence[VisitVersion]) -> bool:
        """Measure the images of a plate that another method measured; return whether any was.

        An image that cannot be measured is not tried again until the next start, unless the reason
        is a fault of this computer.

        Raises
        ------
        MachineError
            If the files cannot be read now: the folder is gone, or disk, network or memory failed.
        """
        outdated = {
            image.observation_id for image in images if image.measured_by != self.measured_by
        } - self._tried
        if not outdated:
            return False
        if self.is_source_gone():
            raise MachineError(
                self.source.path, "does not answer; expected the folder of the images"
            )
        log.info("measures.replacing", plate=plate, images=len(outdated), by=self.measured_by)
        refused: dict[int, str] = {}
        replaced = 0
        try:
            with closing(self.measure([plate], outdated)) as results:
                for image, problem in results:
                    if problem:
                        refused[image.observation_id] = problem
                    else:
                        replaced += 1
        except SourceGoneError as error:
            raise MachineError(error.where, error.problem) from error
        except ConfigError as error:
            log.error("measures.not_replaced", plate=plate, reason=error.problem)
            self._tried.update(outdated)
            return False
        self._tried.update(outdated)
        reason = next(iter(refused.values()), None)
        log.info(
            "measures.replaced", plate=plate, images=replaced, kept=len(refused), reason=reason
        )
        return replaced > 0


@dataclass(frozen=True)
class _Worker:
    """The method and the source settings of one worker process."""

    tissue: TissueMethod
    source: SourceSection

    def measure(self, stored: StoredImage) -> NewMeasures:
        """Read the files of a stored image again and return its measures.

        Raises
        ------
        ImageError
            If a file is missing or changed, or its pixels differ from the stored digest.
        MachineError
            If the disk or the network failed.
        """
        image = read_stored_image(stored, self.source)
        found = analyse_tissue(image.planes, image.um_per_px, self.tissue, image.flags)
        return NewMeasures(
            observation_id=stored.observation_id,
            quality=found.quality,
            measures=found.measures,
            unsure=found.tissue.unsure,
            picture=draw_outline_picture(found.plane, found.tissue),
        )


_workers: list[_Worker] = []  # the one worker of this process, once it is opened


def _open_worker(open_tissue: Callable[[], TissueMethod], source: SourceSection) -> None:
    """Open the worker of this process; called once in each worker process."""
    prepare_child_process()
    _workers.append(_Worker(open_tissue(), source))


def _measure(stored: StoredImage) -> NewMeasures | ImageError | MachineError:
    """Return the new measures of an image, or the error because of which it keeps its measures.

    Raises
    ------
    SourceGoneError
        If the folder of the images is missing or empty.
    """
    [worker] = _workers
    try:
        return worker.measure(stored)
    except Exception as error:  # noqa: BLE001 - one image must not end the work on the others
        check_has_files(worker.source.path)
        if isinstance(error, ImageError | MachineError):
            return error
        kind = MachineError if is_machine_fault(error) else ImageError
        return kind(stored.files[0].path, reason_of(error))
