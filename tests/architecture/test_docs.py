"""Check that the documentation is complete, that its links resolve and that it names real files."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from daemon.reports.ranking_page import ranking_html
from schemas.quality import Flag
from schemas.ranking import Ranking
from schemas.specimen import SpecimenRanking
from simulation.microscope import Fault
from tests import samples

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ROOT_PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md")
PAGES = (*ROOT_PAGES, *sorted(DOCS.rglob("*.md")))
MOST_README_LINES = 150

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
CODE_BLOCK = re.compile(r"^\s*```.*?^\s*```", re.MULTILINE | re.DOTALL)
PAGE_NAME = re.compile(r"\bdocs/[\w/.-]+\.(?:md|png)\b")
FOLDERS = (
    "acquisition",
    "benchmarks",
    "daemon",
    "deploy",
    "inference",
    "schemas",
    "simulation",
    "store",
    "systemd",
    "tests",
    "training",
)
READER_AND_PURPOSE = re.compile(r"For [^.]+, this (page|guide|tutorial) \w+s [^.]+\.")
REPOSITORY_FILE = re.compile(rf"`((?:{'|'.join(FOLDERS)})/[\w./*-]+)`")


def page_name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_without_code_blocks(page: Path) -> str:
    return CODE_BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return the anchors that a Markdown renderer gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", text_without_code_blocks(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def field_names(model: type[BaseModel]) -> set[str]:
    """Return the names of all fields in the JSON of a model, those of nested objects included."""
    schema = model.model_json_schema(mode="serialization")
    objects = [schema, *schema["$defs"].values()]
    return {name for each in objects for name in each.get("properties", {})}


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_relative_link_resolves(page: Path) -> None:
    broken = []
    for link in LINK.findall(text_without_code_blocks(page)):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists():
            broken.append(link)
        elif anchor and anchor not in anchors(target):
            broken.append(f"{link} (no such heading)")
    assert not broken


@pytest.mark.parametrize("page", sorted(DOCS.rglob("*.md")), ids=page_name)
def test_every_page_states_its_reader_and_its_purpose_below_the_title(page: Path) -> None:
    title, reader, *_ = page.read_text(encoding="utf-8").split("\n\n")
    assert title.startswith("# ")
    assert READER_AND_PURPOSE.match(" ".join(reader.split()))


@pytest.mark.parametrize("page", PAGES, ids=page_name)
def test_every_named_file_of_the_repository_exists(page: Path) -> None:
    named = REPOSITORY_FILE.findall(text_without_code_blocks(page))
    assert [name for name in named if not list(ROOT.glob(name.rstrip("/")))] == []


def test_every_page_that_the_code_names_exists() -> None:
    files = [
        path
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".py", ".toml", ".service", ".sh"} and path != Path(__file__)
    ]
    missing = {
        f"{page_name(path)}: {name}"
        for path in files
        for name in PAGE_NAME.findall(path.read_text(encoding="utf-8"))
        if not (ROOT / name).exists()
    }
    assert missing == set()


def test_the_index_lists_every_page() -> None:
    index = DOCS / "README.md"
    linked = {(DOCS / link).resolve() for link in LINK.findall(index.read_text(encoding="utf-8"))}
    assert [page_name(page) for page in DOCS.rglob("*.md") if page not in {index, *linked}] == []


def test_the_readme_is_short() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= MOST_README_LINES


@pytest.mark.parametrize("model", [Ranking, SpecimenRanking], ids=lambda model: model.__name__)
def test_every_field_of_a_ranking_is_explained(model: type[BaseModel]) -> None:
    page = (DOCS / "reference" / "numbers.md").read_text(encoding="utf-8")
    explained = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]+)`", page))))
    assert sorted(field_names(model) - explained) == []


def test_every_quality_flag_is_explained() -> None:
    page = (DOCS / "reference" / "quality.md").read_text(encoding="utf-8")
    assert [flag for flag in Flag if f"\n| `{flag}` |" not in page] == []


def test_every_simulated_fault_is_explained() -> None:
    page = (DOCS / "explanation" / "virtual-plates.md").read_text(encoding="utf-8")
    assert [fault for fault in Fault if f"`{fault}`" not in page] == []


def test_every_column_of_the_report_is_explained() -> None:
    page = (DOCS / "reference" / "numbers.md").read_text(encoding="utf-8")
    heads = re.findall(r"<th>([^<(]+)", ranking_html(samples.ranking(), {}))
    assert heads
    assert [head for head in heads if f" {head.strip()}" not in page] == []


def test_each_test_that_the_page_of_faults_names_exists() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", (DOCS / "reference/faults.md").read_text())
    assert len(named) > 30
    missing = [
        f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text()
    ]
    assert missing == []
