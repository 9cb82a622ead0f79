"""Tests of the names of evaluated encoders, and of wrong names before torch is loaded."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inference.bundle import CARD_FILE, SHIPPED_FOLDERS, load_bundle
from schemas.errors import BundleError, ConfigError
from training.evaluation.candidates import load_candidates


@pytest.fixture
def trained(tmp_path: Path) -> Path:
    """Return a bundle as a training writes it: the folder is named ``bundle``."""
    return copy_bundle(tmp_path / "run", "pdac-simclr", 0.0)


def copy_bundle(run: Path, name: str, weight: float) -> Path:
    shipped = load_bundle("imagenet").folder
    folder = Path(shutil.copytree(shipped, run / "bundle"))
    card = json.loads((folder / CARD_FILE).read_text())
    card |= {"name": name, "ranking_weight": weight}
    (folder / CARD_FILE).write_text(json.dumps(card))
    return folder


def test_a_bundle_is_named_by_its_card_and_a_shipped_one_as_it_is_shipped(trained: Path) -> None:
    candidates = load_candidates(["default", str(trained), f"default+{trained}"])
    assert [each.name for each in candidates] == [
        "measures",
        "default",
        "pdac-simclr",
        "default+pdac-simclr",
    ]
    assert candidates[2].ranking_weight == 0
    assert SHIPPED_FOLDERS


def test_two_encoders_of_one_name_get_the_first_digits_of_their_ids(
    trained: Path, tmp_path: Path
) -> None:
    other = copy_bundle(tmp_path / "other", "pdac-simclr", 0.1)
    card = json.loads((other / CARD_FILE).read_text())
    card["preprocessing"]["field_um"] = 800.0
    (other / CARD_FILE).write_text(json.dumps(card))
    _, one, two = load_candidates([str(trained), str(other)])
    assert one.name == f"pdac-simclr-{one.encoder_id.rpartition('-')[2][:4]}"
    assert one.name != two.name


def test_wrong_names_are_refused(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no-such-encoder: is no encoder bundle"):
        load_candidates(["no-such-encoder"])
    with pytest.raises(ConfigError, match="same encoder"):
        load_candidates([str(trained), f"{trained}/"])
    with pytest.raises(ConfigError, match=r"--real-data: is .*none; expected a folder"):
        load_candidates(["default"], tmp_path / "none")


def test_names_are_checked_without_torch() -> None:
    code = (
        "import sys; from training.evaluation.candidates import load_candidates;"
        "load_candidates(['default']);"
        "print([name for name in ('torch', 'timm', 'sklearn', 'cv2') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
