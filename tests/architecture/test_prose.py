"""The rules of :mod:`tests.prose` hold in every module and every page."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.prose import hits

ROOT = Path(__file__).parents[2]
PACKAGES = ("schemas", "store", "acquisition", "inference", "simulation", "daemon", "training")
FOLDERS = (*PACKAGES, "benchmarks", "tests", "docs", "deploy")
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md")
EXCEPTIONS: dict[str, str] = {
    "tests/prose.py": "names the words that it finds",
    "tests/unit/test_prose_rules.py": "its cases break the rules",
    "tests/unit/acquisition/microscope/test_imaging_requests.py": "names a folder of old versions",
    "deploy/encoders/default/MODEL_CARD.md": "written by the training that made the bundle",
}
"""Files without a check, each with its reason."""


def files() -> list[Path]:
    """Return every Python module and Markdown page of the repository."""
    found = [
        path
        for folder in FOLDERS
        for pattern in ("*.py", "*.md")
        for path in sorted((ROOT / folder).rglob(pattern))
    ]
    return [*found, *(ROOT / page for page in PAGES)]


CHECKED = [path for path in files() if path.relative_to(ROOT).as_posix() not in EXCEPTIONS]


@pytest.mark.parametrize("path", CHECKED, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_is_in_plain_technical_english(path: Path) -> None:
    assert [str(hit) for hit in hits(path)] == []


def test_each_exception_is_a_file() -> None:
    assert [name for name in EXCEPTIONS if not (ROOT / name).is_file()] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_has_a_docstring(package: str) -> None:
    missing = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, name in undocumented(path)
    ]
    assert missing == []


def undocumented(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and name of each public class, method and function without a docstring."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    if ast.get_docstring(tree) is None:
        yield 1, path.stem
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef)]
    for scope in [tree, *(each for each in classes if not each.name.startswith("_"))]:
        for node in scope.body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
                continue
            if ast.get_docstring(node) is None:
                yield node.lineno, node.name
