import ast
from pathlib import Path

import numpy as np

from training.evaluation.plates import (
    _IMAGE_CODE,
    EvaluationPlate,
    EvaluationSet,
    evaluation_plates,
    indices_of_kind,
)

ROOT = Path(__file__).parents[4]
ENUMERATIONS = {"simulation/kinds"}  # names without an effect on images


def test_evaluation_plates_are_rendered_once(
    plates: list[EvaluationPlate], evaluation_set: EvaluationSet, cache_folder: Path
) -> None:
    times = {path: path.stat().st_mtime_ns for path in cache_folder.rglob("*.np*")}
    again = evaluation_plates(evaluation_set, cache_folder)
    assert {path: path.stat().st_mtime_ns for path in cache_folder.rglob("*.np*")} == times
    assert [plate.name for plate in again] == ["mixed-201", "phase_rim-201"]
    assert np.array_equal(again[0].planes, plates[0].planes)


def test_a_partly_rendered_plate_is_rendered_again(
    plates: list[EvaluationPlate], evaluation_set: EvaluationSet, cache_folder: Path
) -> None:
    folder = next(cache_folder.rglob("mixed-201"))
    folder.rename(folder.with_name("mixed-201.part"))
    assert np.array_equal(
        evaluation_plates(evaluation_set, cache_folder)[0].planes, plates[0].planes
    )
    assert not list(cache_folder.rglob("*.part"))


def test_shifted_optics_image_the_same_wells(plates: list[EvaluationPlate]) -> None:
    mixed, shifted = plates
    assert (mixed.wells, mixed.treatments, mixed.kill.tolist()) == (
        shifted.wells,
        shifted.treatments,
        shifted.kill.tolist(),
    )
    assert not np.array_equal(mixed.planes, shifted.planes)
    assert list(indices_of_kind(plates, "phase_rim")) == [1]


def imported_modules(module: str) -> set[str]:
    """Return the imports of a module within this repository, such as ``simulation/plate``."""
    names = set()
    for node in ast.walk(ast.parse((ROOT / f"{module}.py").read_bytes())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    paths = {name.replace(".", "/") for name in names}
    return {path for path in paths if (ROOT / f"{path}.py").is_file()}


def test_the_cache_digest_covers_the_code_of_images_and_measures() -> None:
    found: set[str] = set()
    waiting = set(_IMAGE_CODE)
    while waiting:
        module = waiting.pop()
        found.add(module)
        waiting |= {
            name
            for name in imported_modules(module) - found
            if name.startswith(("simulation/", "inference/tissue/", "acquisition/quality"))
        }
    assert found - ENUMERATIONS == set(_IMAGE_CODE)
