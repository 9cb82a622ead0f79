"""Tests of the configuration of an encoder training, and of its example file."""

import re
from pathlib import Path

import pytest

from schemas.errors import ConfigError
from training.encoder.config import (
    ArchiveSection,
    EncoderTrainingConfig,
    load_encoder_training_config,
)

pytestmark = pytest.mark.train

EXAMPLE = Path(__file__).parents[4] / "deploy" / "train.example.toml"


def test_the_example_has_the_default_values() -> None:
    assert (
        load_encoder_training_config(EXAMPLE)
        == EncoderTrainingConfig()
        == load_encoder_training_config(None)
    )


@pytest.mark.parametrize("section", EncoderTrainingConfig.model_fields)
def test_the_example_shows_every_key(section: str) -> None:
    shown = EXAMPLE.read_text().split(f"\n[{section}]")[1].split("\n[")[0]
    for key in type(EncoderTrainingConfig.model_fields[section].default).model_fields:
        assert re.search(rf"^(# )?{key} = ", shown, flags=re.MULTILINE), key


def test_the_example_shows_every_key_of_an_archive() -> None:
    lines = EXAMPLE.read_text().split("# [[data.archives]]\n")[1].split("\n\n")[0]
    path_free = lines.replace("# ", "", 1).replace("\n# ", "\n")
    for key in ArchiveSection.model_fields:
        assert f"{key} = " in path_free


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "train.toml"
    path.write_text(
        "[run]\nbatch = 1\nstep = 3\n[data]\nvalidation_share = 1.5\n[[data.archives]]\n"
    )
    with pytest.raises(ConfigError) as raised:
        load_encoder_training_config(path)
    for words in (
        "key run.batch: is 1",
        "key run.step: is unknown (value 3); expected one of seed, steps",
        "data.validation_share",
        "data.archives.0.folder",
    ):
        assert words in str(raised.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[rnu]\n", "key rnu: is unknown .* expected one of data, augment, model, objective, run"),
        (
            "[data]\nvirtual_seed = 5\n",
            r"data\.virtual_seed: is 5; expected greater than or equal to 100000",
        ),
        (
            "[objective]\ntemprature = 1\n",
            r"objective\.temprature: is unknown .* expected one of layer, temperature",
        ),
        ("[run\n", "is not TOML"),
    ],
)
def test_an_invalid_file_is_reported_with_key_value_and_expectation(
    tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "train.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_encoder_training_config(path)


def test_a_missing_configuration_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml: does not exist"):
        load_encoder_training_config(tmp_path / "none.toml")
