"""The influence of the encoder on rankings, in ``spherorank check`` and on a ranking's page."""

import json
import shutil
from pathlib import Path

import pytest

from daemon.jobs.method_report import describe_encoder
from daemon.reports.ranking_page import ranking_html
from inference.bundle import CARD_FILE, load_bundle
from tests.samples import ranking


@pytest.fixture
def without_weight(tmp_path: Path) -> Path:
    """Return a bundle without the key ``ranking_weight``, as a training writes it by default."""
    folder = Path(shutil.copytree(load_bundle("imagenet").folder, tmp_path / "bundle"))
    card = json.loads((folder / CARD_FILE).read_text())
    del card["ranking_weight"]
    (folder / CARD_FILE).write_text(json.dumps(card))
    return folder


def describe(folder: Path, text: str) -> list[str]:
    (folder / "spherorank.toml").write_text(text)
    return describe_encoder(folder / "spherorank.toml")


def test_an_encoder_without_influence_is_named_with_the_reason(
    without_weight: Path, tmp_path: Path
) -> None:
    lines = describe(tmp_path, f'[encoder]\nbundle = "{without_weight}"\n')
    assert lines[0].startswith("encoder imagenet-")
    assert "ranking_weight 0: the embedding has no influence on rankings" in lines[1]
    assert "`spherorank evaluate` proposes a value" in lines[1]


def test_the_shipped_encoder_has_an_influence_except_where_it_is_not_compared(
    tmp_path: Path,
) -> None:
    assert "ranking_weight 0.1: rankings by embedding" in describe(tmp_path, "")[1]
    lines = describe(tmp_path, '[ranking]\nrepresentation = "measures"\n')
    assert "rankings compare the measures alone" in lines[1]
    assert "ranking_weight 0.1 is not used" in lines[1]


def test_a_missing_encoder_is_left_to_the_other_checks(tmp_path: Path) -> None:
    assert describe(tmp_path, '[encoder]\nbundle = "none"\n') == []


@pytest.mark.parametrize(
    ("representation", "words"),
    [
        ("measures", "its embedding has no influence"),
        ("both", "its embedding is compared beside the measures (ranking_weight above 0)"),
        ("embedding", "its embedding alone is compared"),
    ],
)
def test_the_page_of_a_ranking_states_the_influence_of_its_encoder(
    representation: str, words: str
) -> None:
    page = ranking_html(ranking(representation=representation), {})
    assert f"; {words}" in page
