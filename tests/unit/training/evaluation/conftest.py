"""Two small evaluation plates, rendered once for all tests of this folder."""

from pathlib import Path

import pytest

from training.evaluation.plates import EvaluationPlate, EvaluationSet, evaluation_plates


@pytest.fixture(scope="session")
def evaluation_set() -> EvaluationSet:
    return EvaluationSet(mixed=(201,), one_mechanism=(), shifted=(201,), size_px=96, wells=10)


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def plates(evaluation_set: EvaluationSet, cache_folder: Path) -> list[EvaluationPlate]:
    return evaluation_plates(evaluation_set, cache_folder)
