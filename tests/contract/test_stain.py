"""Checks of a stain bundle when it is opened: each wrong bundle is refused with a clear error."""

import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from inference.tissue.onnx_segmenter import shipped_segmenter
from inference.tissue.onnx_stain import OnnxStain, load_stain
from schemas.errors import BundleError

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.stain_samples import write_random_stain  # noqa: PLC0415 - imports torch

    return write_random_stain(tmp_path_factory.mktemp("stain") / "bundle")


@pytest.fixture
def bundle(valid: Path, tmp_path: Path) -> Path:
    """Return the folder of a valid bundle that a test may change."""
    return Path(shutil.copytree(valid, tmp_path / "bundle"))


def change_card(bundle: Path, **changes: Any) -> None:  # noqa: ANN401 - any key of the card
    card = json.loads((bundle / "stain.json").read_text())
    (bundle / "stain.json").write_text(json.dumps(card | changes))


def refusal(bundle: Path) -> str:
    with pytest.raises(BundleError) as refused:
        OnnxStain(load_stain(bundle))
    return str(refused.value)


def test_a_network_of_another_size_is_refused(bundle: Path) -> None:
    change_card(bundle, input_size=128)
    assert re.search(
        r"stain.onnx: input is .*64, 64.*; the card expects .*128, 128", refusal(bundle)
    )


def test_a_network_with_other_values_is_refused(bundle: Path) -> None:
    change_card(bundle, canary={"seed": 42, "expected": [100.0], "tolerance": 0.01})
    assert re.search(r"canary value 0 is .*; expected 100", refusal(bundle))


def test_a_changed_or_missing_network_is_refused(bundle: Path) -> None:
    with (bundle / "stain.onnx").open("ab") as file:
        file.write(b"\0")
    assert re.search(r"SHA-256 is \w+; stain.json expects \w+", refusal(bundle))
    (bundle / "stain.onnx").unlink()
    assert re.search(r"stain.onnx.*cannot be read", refusal(bundle))


def test_a_file_that_is_no_network_is_refused(bundle: Path) -> None:
    (bundle / "stain.onnx").write_bytes(b"text")
    change_card(bundle, sha256=hashlib.sha256(b"text").hexdigest())
    assert re.search(r"onnxruntime .* cannot load it", refusal(bundle))


def test_a_segmenter_is_no_stain_bundle() -> None:
    found = refusal(shipped_segmenter())
    assert re.search(r"stain.json.*cannot be read.*expected stain.onnx", found)


def test_another_network_has_another_id(bundle: Path) -> None:
    import onnx  # noqa: PLC0415 - needs the train extra

    first = OnnxStain(load_stain(bundle)).stain_id
    network = onnx.load(bundle / "stain.onnx")
    network.doc_string = "another"
    onnx.save(network, bundle / "stain.onnx")
    change_card(bundle, sha256=hashlib.sha256((bundle / "stain.onnx").read_bytes()).hexdigest())
    assert OnnxStain(load_stain(bundle)).stain_id != first
    assert re.fullmatch(r"predicted-stain-[0-9a-f]{16}", first)
