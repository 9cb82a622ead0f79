"""Writes virtual plates into a drop folder: at once, or as slowly and untidily as a real robot does."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from simulation.kinds import Delivery
from simulation.microscope import FILE_FAULTS, Fault, Truth, VirtualMicroscope, plan_faults
from simulation.optics import PLANES
from simulation.plate import CULTURE_DAYS, DOSED_ON_DAY, RandomPurpose, WellPlan, random_generator

Progress = Callable[[int, int], None]  # well images done, of how many
Faults = Mapping[tuple[str, int], Fault]  # by well and day, of one plate


def write_plates(
    out: Path,
    scopes: Sequence[VirtualMicroscope],
    *,
    days: Sequence[int] = CULTURE_DAYS,
    masks: bool = False,
    assay: bool = False,
    faults: float = 0.0,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Write whole plates: ``OUT/drop``, ``OUT/truth.csv`` and, when asked for, ``OUT/masks`` and ``OUT/faults.csv`` (a share of well images that go wrong)."""
    truths: list[Truth] = []
    planted: list[tuple[str, str, int, Fault]] = []
    total = sum(len(scope.plate.wells) for scope in scopes) * len(days)
    for scope in scopes:
        folder = write_plate_map(scope, out / "drop", assay=assay)
        wrong = plan_faults(scope.plate, days, faults)
        planted += [(scope.plate.name, well, day, fault) for (well, day), fault in wrong.items()]
        for day in days:
            day_folder = folder / f"day{day:02d}"
            day_folder.mkdir(parents=True, exist_ok=True)
            for plan in scope.plate.wells:
                view = scope.render(plan, day, wrong.get((plan.well, day)))
                for name, content in plane_files(
                    scope, plan, day, view.planes, wrong.get((plan.well, day))
                ):
                    (day_folder / name).write_bytes(content)
                if masks:
                    _write_mask(
                        out / "masks" / scope.plate.name / day_folder.name / f"{plan.well}.png",
                        view.mask,
                    )
                truths.append(view.truth)
                progress(len(truths), total)
    write_truth(out / "truth.csv", truths)
    if faults:
        _write_csv(out / "faults.csv", ("plate", "well", "day", "fault"), planted)


def write_plate_map(scope: VirtualMicroscope, drop: Path, *, assay: bool = False) -> Path:
    """Write the plate map, and the assay's table if asked for; return the plate's folder."""
    plate = scope.plate
    folder = drop / plate.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{plate.name}.wells.csv").write_text(plate.wells_csv())
    (folder / f"{plate.name}.plate.toml").write_text(plate.plate_toml(scope.um_per_px))
    if assay:
        write_assay(scope, drop)
    return folder


def write_assay(scope: VirtualMicroscope, drop: Path) -> None:
    """Write the assay's table beside the plate map."""
    (drop / scope.plate.name / f"{scope.plate.name}.assay.csv").write_text(scope.plate.assay_csv())


def write_truth(path: Path, truths: Iterable[Truth]) -> None:
    """Write ``truth.csv``."""
    _write_csv(
        path, [field.name for field in fields(Truth)], (asdict(truth).values() for truth in truths)
    )


def plane_files(
    scope: VirtualMicroscope,
    plan: WellPlan,
    day: int,
    planes: npt.NDArray[np.uint16],
    fault: Fault | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Yield name and content of each plane's file."""
    taken_at = scope.plate.taken_at(plan, day)
    broken = (plan.key + day) % PLANES if fault in FILE_FAULTS else None
    for number, plane in enumerate(planes):
        content = encode_tiff(plane, taken_at, scope.um_per_px)
        yield (
            f"{plan.well}_z{number + 1}.tif",
            _break(content, fault) if number == broken else content,
        )


def encode_tiff(plane: npt.NDArray[np.uint16], taken_at: datetime, um_per_px: float) -> bytes:
    """Return a TIFF with its time, local as the format has it, and its scale."""
    buffer = io.BytesIO()
    per_cm = 1e4 / um_per_px
    tifffile.imwrite(
        buffer,
        plane,
        datetime=taken_at.replace(tzinfo=None),
        resolution=(per_cm, per_cm),
        resolutionunit="CENTIMETER",
        metadata=None,
    )
    return buffer.getvalue()


def _break(content: bytes, fault: Fault | None) -> bytes:
    match fault:
        case Fault.TRUNCATED:
            return content[: len(content) // 2]
        case Fault.ZERO_BYTES:
            return b""
        case _:
            return b"lamp warming up, please try again\n"


def _write_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())


def _write_csv(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def imaged_days(
    scope: VirtualMicroscope, seed: int, days: Sequence[int] = CULTURE_DAYS
) -> tuple[int, ...]:
    """Return the days the robot images: some days before dosing are left out, never the dosing day or a day after it."""
    early = [day for day in days if day < DOSED_ON_DAY]
    missing = (
        random_generator(seed, RandomPurpose.ROBOT, scope.plate.index)
        .permutation(early)[: len(early) // 3]
        .tolist()
    )
    return tuple(day for day in days if day not in missing)


def run_robot(
    scopes: Sequence[VirtualMicroscope],
    drop: Path,
    *,
    seconds_per_image: float,
    seed: int,
    sleep: Callable[[float], None],
    days: Sequence[int] = CULTURE_DAYS,
    delivery: Delivery = Delivery.IN_PLACE,
    assay: bool = False,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Write plates over time: day by day, back and forth over the rows, planes out of order, each file half-written for a while.

    ``seconds_per_image`` is slept for each well image in all, by ``sleep``. Every well is complete at the end of its day; an assay comes after the last day.
    """
    imaged = [
        (day, scope) for day in days for scope in scopes if day in imaged_days(scope, seed, days)
    ]
    total = sum(len(scope.plate.wells) for _, scope in imaged)
    done = 0
    for scope in scopes:
        write_plate_map(scope, drop)
    for day, scope in imaged:
        folder = drop / scope.plate.name / f"day{day:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        waiting: dict[str, dict[int, tuple[str, bytes]]] = {}
        for plan, plane in _order(scope, seed, day):
            if plan.well not in waiting:
                waiting[plan.well] = dict(
                    enumerate(plane_files(scope, plan, day, scope.render(plan, day).planes))
                )
            name, content = waiting[plan.well].pop(plane)
            _deliver(folder / name, content, delivery, seconds_per_image / PLANES, sleep)
            if not waiting[plan.well]:
                done += 1
                progress(done, total)
        if delivery is Delivery.DAY_DONE:
            (folder.parent / f"{folder.name}.done").touch()
    for scope in scopes if assay else ():
        write_assay(scope, drop)


def _order(scope: VirtualMicroscope, seed: int, day: int) -> list[tuple[WellPlan, int]]:
    """Return (well, plane) as the robot comes by: back and forth over the rows, neighbouring files swapped."""
    rng = random_generator(seed, RandomPurpose.ROBOT, scope.plate.index, day)
    path = sorted(
        scope.plate.wells,
        key=lambda plan: (plan.row, plan.column if plan.row % 2 == 0 else -plan.column),
    )
    files = [(plan, plane) for plan in path for plane in range(PLANES)]
    places = np.arange(len(files)) + rng.normal(0, 2, len(files))
    return [files[place] for place in np.argsort(places)]


def _deliver(
    path: Path, content: bytes, delivery: Delivery, seconds: float, sleep: Callable[[float], None]
) -> None:
    """Let one file appear, and sleep for ``seconds`` while it is not yet whole."""
    if delivery is Delivery.RENAME:
        aside = path.with_name(f".{path.name}.part")
        aside.write_bytes(content)
        sleep(seconds)
        aside.rename(path)
        return
    half = len(content) // 2
    with path.open("wb") as file:
        file.write(content[:half])
        file.flush()
        sleep(seconds)
        file.write(content[half:])
    if delivery is Delivery.READY:
        path.with_name(f"{path.name}.ready").touch()
