"""Writes virtual plates into a drop folder: at once, or over time as a real robot does."""

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import tifffile

from simulation.kinds import Delivery
from simulation.microscope import FILE_FAULTS, Fault, PlateMicroscope, Truth, plan_faults
from simulation.optics import PLANES
from simulation.plate import CULTURE_DAYS, DOSED_ON_DAY, WellPlan
from simulation.random_numbers import RandomPurpose, random_generator

Progress = Callable[[int, int], None]
"""Function that receives the number of finished well images and their total number."""


def write_plates(
    out: Path,
    scopes: Sequence[PlateMicroscope],
    *,
    days: Sequence[int] = CULTURE_DAYS,
    masks: bool = False,
    assay: bool = False,
    faults: float = 0.0,
    progress: Progress = lambda _done, _total: None,
) -> None:
    """Write the images, plate maps and truth of the microscopes' plates into a folder at once.

    They are in ``out/drop`` and ``out/truth.csv``; on request the true masks are in ``out/masks``
    as PNG and the assay of each plate is beside its plate map. ``faults`` is the share of well
    images with a fault, 0…1; these are listed in ``out/faults.csv``.
    """
    truths: list[Truth] = []
    planted: list[tuple[str, str, int, Fault]] = []
    total = sum(len(scope.plate.wells) for scope in scopes) * len(days)
    for scope in scopes:
        plate_folder = write_plate_map(scope, out / "drop", assay=assay)
        planned = plan_faults(scope.plate, days, faults)
        planted += [(scope.plate.name, well, day, fault) for (well, day), fault in planned.items()]
        for day in days:
            day_folder = plate_folder / f"day{day:02d}"
            day_folder.mkdir(parents=True, exist_ok=True)
            mask_folder = out / "masks" / scope.plate.name / day_folder.name
            for plan in scope.plate.wells:
                fault = planned.get((plan.well, day))
                rendered = scope.render(plan, day, fault)
                for name, content in plane_files(scope, plan, day, rendered.planes, fault):
                    (day_folder / name).write_bytes(content)
                if masks:
                    _write_mask(mask_folder / f"{plan.well}.png", rendered.mask)
                truths.append(rendered.truth)
                progress(len(truths), total)
    write_truth(out / "truth.csv", truths)
    if faults:
        write_rows(out / "faults.csv", ("plate", "well", "day", "fault"), planted)


def write_plate_map(scope: PlateMicroscope, drop: Path, *, assay: bool = False) -> Path:
    """Write the map of a microscope's plate, optionally its assay, and return its folder."""
    plate = scope.plate
    folder = drop / plate.name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{plate.name}.wells.csv").write_text(plate.plate_map_csv(), encoding="utf-8")
    (folder / f"{plate.name}.plate.toml").write_text(
        plate.plate_map_toml(scope.um_per_px), encoding="utf-8"
    )
    if assay:
        write_assay(scope, drop)
    return folder


def write_assay(scope: PlateMicroscope, drop: Path) -> None:
    """Write the assay of a virtual microscope's plate beside its plate map in the drop folder."""
    (drop / scope.plate.name / f"{scope.plate.name}.assay.csv").write_text(
        scope.plate.assay_csv(), encoding="utf-8"
    )


def write_truth(path: Path, truths: Iterable[Truth]) -> None:
    """Write the true properties of wells as a CSV file, ``truth.csv``."""
    write_rows(
        path, [field.name for field in fields(Truth)], (asdict(truth).values() for truth in truths)
    )


def plane_files(
    scope: PlateMicroscope,
    plan: WellPlan,
    day: int,
    planes: npt.NDArray[np.uint16],
    fault: Fault | None = None,
) -> Iterator[tuple[str, bytes]]:
    """Yield (file name, TIFF bytes) of each plane of a planned well's image, (3, H, W) uint16.

    With a file fault, the content of one file is damaged.
    """
    taken_at = scope.plate.taken_at(plan, day)
    damaged = (plan.key + day) % PLANES if fault in FILE_FAULTS else None
    for number, plane in enumerate(planes):
        content = encode_tiff(plane, taken_at, scope.um_per_px)
        yield (
            f"{plan.well}_z{number + 1}.tif",
            _damage(content, fault) if number == damaged else content,
        )


def encode_tiff(plane: npt.NDArray[np.uint16], taken_at: datetime, um_per_px: float) -> bytes:
    """Return a plane, (H, W) uint16, as the bytes of a TIFF file with its time and scale."""
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


def _damage(content: bytes, fault: Fault | None) -> bytes:
    """Return the content of a file with a file fault."""
    match fault:
        case Fault.TRUNCATED:
            return content[: len(content) // 2]
        case Fault.ZERO_BYTES:
            return b""
        case _:
            return b"lamp warming up, please try again\n"


def _write_mask(path: Path, mask: npt.NDArray[np.bool_]) -> None:
    """Write a mask, (H, W), as PNG with the values 0 and 255."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(".png", mask.astype(np.uint8) * 255)[1].tobytes())


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write a table as CSV with its column names; missing folders are created."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(rows)


def imaged_days(
    scope: PlateMicroscope, seed: int, days: Sequence[int] = CULTURE_DAYS
) -> tuple[int, ...]:
    """Return those of the given culture days on which the robot images a microscope's plate.

    A third of the days before dosing are missing; the dosing day and later days are not.
    """
    early = [day for day in days if day < DOSED_ON_DAY]
    missing = (
        random_generator(seed, RandomPurpose.ROBOT, scope.plate.index)
        .permutation(early)[: len(early) // 3]
        .tolist()
    )
    return tuple(day for day in days if day not in missing)


def run_robot(
    scopes: Sequence[PlateMicroscope],
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
    """Write the microscopes' plates into a drop folder over time, day by day, as a robot does.

    Wells are visited in serpentine order, files come out of order and each file is incomplete for
    a while. At the end of a day every well is complete.

    The seed determines missing days and the order of files. Each well image takes
    ``seconds_per_image``, which ``sleep`` waits for. With ``assay``, the assay of each plate
    follows the last day.
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
        unwritten: dict[str, dict[int, tuple[str, bytes]]] = {}  # name and content by well, plane
        for plan, plane in _file_order(scope, seed, day):
            if plan.well not in unwritten:
                unwritten[plan.well] = dict(
                    enumerate(plane_files(scope, plan, day, scope.render(plan, day).planes))
                )
            name, content = unwritten[plan.well].pop(plane)
            _deliver(folder / name, content, delivery, seconds_per_image / PLANES, sleep)
            if not unwritten[plan.well]:
                done += 1
                progress(done, total)
        if delivery is Delivery.DAY_DONE:
            (folder.parent / f"{folder.name}.done").touch()
    for scope in scopes if assay else ():
        write_assay(scope, drop)


def _file_order(scope: PlateMicroscope, seed: int, day: int) -> list[tuple[WellPlan, int]]:
    """Return (well, plane) of all files of a day, in serpentine order with neighbours swapped."""
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
    """Write one file by a delivery; sleep for ``seconds`` while it is incomplete."""
    if delivery is Delivery.RENAME:
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(content)
        sleep(seconds)
        part.rename(path)
        return
    half = len(content) // 2
    with path.open("wb") as file:
        file.write(content[:half])
        file.flush()
        sleep(seconds)
        file.write(content[half:])
    if delivery is Delivery.READY:
        path.with_name(f"{path.name}.ready").touch()
