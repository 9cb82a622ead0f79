"""Tests that names and files of a configuration are checked before torch and images are loaded."""

import subprocess
import sys
from pathlib import Path

import pytest
import timm

from schemas.errors import ConfigError
from training.encoder.config import EncoderTrainingConfig
from training.encoder.names import check_backbone_name, check_names

pytestmark = pytest.mark.train

HEAVY = ("torch", "timm", "lightly", "pytorch_lightning", "cv2", "scipy", "sklearn", "onnxruntime")


def config(**sections: dict[str, object]) -> EncoderTrainingConfig:
    return EncoderTrainingConfig.model_validate({"data": {"virtual_plates": 2}} | sections)


def test_all_wrong_names_are_reported_together(tmp_path: Path) -> None:
    wrong = config(
        data={
            "archives": [
                {"folder": tmp_path / "none"},
                {"folder": tmp_path, "store": "sqlite:///no.sqlite"},
            ]
        },
        augment={"first": "sphroid", "second": "lihgt"},
        model={"backbone": "resnet-18", "weights": "no.pth"},
        objective={"name": "simsiam"},
    )
    with pytest.raises(ConfigError) as raised:
        check_names(wrong)
    assert [where for where, _ in raised.value.problems] == [
        "objective.name",
        "augment.first",
        "augment.second",
        "model.backbone",
        "model.weights",
        str(tmp_path / "none"),
        "data.archives.store",
    ]
    assert "resnet18" in str(raised.value)


def test_a_configuration_without_images_is_refused() -> None:
    with pytest.raises(ConfigError, match="data: has no images"):
        check_names(EncoderTrainingConfig())


def test_every_network_of_timm_is_accepted() -> None:
    check_names(config())
    check_backbone_name("unet_encoder")
    for name in timm.list_models():
        check_backbone_name(name)


def test_the_check_loads_neither_torch_nor_image_code() -> None:
    code = (
        "import sys; from training.encoder.config import EncoderTrainingConfig as C;"
        "from training.encoder.names import check_names;"
        "check_names(C.model_validate({'data': {'virtual_plates': 2}}));"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"
