"""Work of ``spherorank measure --store``: measure all stored images by the present method.

The pixels are read again from the recorded image files. Each plate is committed by itself, so after
an interruption the same command continues with the next plate.
"""

import sys
from contextlib import closing
from dataclasses import dataclass

from rich.progress import track

from daemon.config import Config
from daemon.encoder_switch import is_unfinished
from daemon.wiring.images import open_measuring_again
from daemon.wiring.store import open_store
from schemas.errors import ImageError


@dataclass(frozen=True)
class MeasuringReport:
    """Numbers of stored images that one call measured again, and those that keep their measures."""

    measured_by: str
    measured: int
    kept: list[ImageError]  # file missing or changed since it was stored, or not measurable


def measure_store(config: Config, jobs: int) -> MeasuringReport:
    """Measure all stored images not yet measured by the method; return a MeasuringReport.

    The method is the segmenter of the configuration with this version's definitions of the
    measures. Plates without a final ranking come first. A progress bar shows on a terminal.

    Parameters
    ----------
    jobs
        Number of worker processes, each with its own segmenter.

    Raises
    ------
    ConfigError
        If the segmenter cannot be opened, or a worker process is killed.
    SourceGoneError
        If the folder of the images is missing or empty: its files are then not counted as missing.
    MachineError
        If memory, disk or network failed.
    """
    with closing(open_store(config)) as store:
        again = open_measuring_again(config, store, jobs=jobs)
        plates = [each for each in store.outdated_measures(again.measured_by) if each.outdated]
        plates.sort(key=lambda each: not is_unfinished(store, each.plate))
        kept: list[ImageError] = []
        measured = 0
        if not plates:
            return MeasuringReport(again.measured_by, measured, kept)
        with closing(again.measure([each.plate for each in plates])) as results:
            for image, reason in track(
                results,
                "images measured",
                total=sum(each.outdated for each in plates),
                disable=not sys.stdout.isatty(),
            ):
                if reason:
                    key = image.key
                    kept.append(ImageError(f"{key.plate} {key.well} {key.visit}", reason))
                else:
                    measured += 1
    return MeasuringReport(again.measured_by, measured, kept)
