"""Tests of ensembles of encoders and of forecasters, which the service opens as one bundle."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.bundle import CARD_FILE, Bundle, load_bundle
from inference.departure.sequence_model import OnnxSequenceModel, load_forecaster
from inference.encoding.onnx_encoder import OnnxEncoder
from schemas.errors import ConfigError
from tests.forecaster_samples import PLATES, forecaster_settings, ignore_progress
from tests.samples import well_image
from training.ensembles import write_encoder_ensemble, write_ensemble, write_forecaster_ensemble
from training.forecaster.joint import write_projecting_encoder
from training.forecaster.train import fit_forecaster

pytestmark = [pytest.mark.train, pytest.mark.filterwarnings("ignore")]  # warnings of lightning


@pytest.fixture(scope="module")
def encoders(tmp_path_factory: pytest.TempPathFactory) -> list[Bundle]:
    """Return the ImageNet encoder, and the same encoder with a projection to five values."""
    folder = tmp_path_factory.mktemp("encoders") / "projected"
    whole = load_bundle("imagenet")
    projection = np.random.default_rng(0).normal(size=(5, whole.card.dimension))
    write_projecting_encoder(whole, projection.astype(np.float32), "projected", folder)
    return [whole, load_bundle(str(folder))]


@pytest.fixture(scope="module")
def forecasters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("forecasters")
    settings = [forecaster_settings(folder / f"{seed}", epochs=1, seed=seed) for seed in (1, 2)]
    return [fit_forecaster(PLATES[:4], each, ignore_progress).bundle for each in settings]


def test_an_ensemble_embeds_with_all_encoders_in_one_run(
    encoders: list[Bundle], tmp_path: Path
) -> None:
    card = write_encoder_ensemble(encoders, "both", tmp_path / "both")
    opened = OnnxEncoder(load_bundle(str(tmp_path / "both")), "cpu", 1)
    assert opened.dimension == 1285
    assert opened.encoder_id == card.encoder_id
    assert opened.encoder_id.startswith("both-")
    image = well_image(seed=3)
    whole, projected = (OnnxEncoder(bundle, "cpu", 1).embed(image, 1) for bundle in encoders)
    found = opened.embed(image, 1)
    for part, own in ((found[:1280], whole), (found[1280:], projected)):
        factor = float(part @ own) / float(own @ own)
        np.testing.assert_allclose(part, factor * own, atol=1e-5)
        assert 0.1 < np.linalg.norm(part) < 10  # 1 for the test image


def test_encoders_of_other_inputs_are_refused(encoders: list[Bundle], tmp_path: Path) -> None:
    card = encoders[1].card.model_copy(update={"input_size": 256})
    with pytest.raises(ConfigError, match=r"input_size: differs .*imagenet: 224; projected: 256"):
        write_encoder_ensemble(
            [encoders[0], replace(encoders[1], card=card)], "both", tmp_path / "both"
        )
    assert not (tmp_path / "both").exists()


def test_an_ensemble_forecasts_the_mean_of_its_forecasters(
    forecasters: list[Path], tmp_path: Path
) -> None:
    plate, days = PLATES[5], (5, 6, 7)
    parts = [
        OnnxSequenceModel(load_forecaster(each)).predict(plate, days, 10) for each in forecasters
    ]
    assert "mean forecast of 2 models" in write_ensemble(
        [str(each) for each in forecasters], "mean", tmp_path / "mean"
    )
    whole = OnnxSequenceModel(load_forecaster(tmp_path / "mean"))
    np.testing.assert_allclose(whole.predict(plate, days, 10), np.mean(parts, axis=0), rtol=1e-5)
    assert not np.allclose(parts[0], parts[1], rtol=1e-5)
    assert whole.name.startswith("mean-")
    whole.check_fits(plate.feature_names, "")


def test_forecasters_of_other_features_are_refused(forecasters: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(forecasters[1], other)
    card = json.loads((other / "forecaster.json").read_text())
    card["feature_names"][0] = "size"
    (other / "forecaster.json").write_text(json.dumps(card))
    with pytest.raises(ConfigError, match=r"feature_names: differs between .*other"):
        write_forecaster_ensemble(
            [load_forecaster(forecasters[0]), load_forecaster(other)], "mean", tmp_path / "mean"
        )


def test_one_bundle_is_no_ensemble(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="BUNDLES: are 1; expected two or more"):
        write_ensemble(["imagenet"], "one", tmp_path / "one")
    assert not (tmp_path / "one" / CARD_FILE).exists()
