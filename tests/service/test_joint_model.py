"""The service changes to an encoder and a forecaster that were trained together, as an ensemble."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.bundle import load_bundle
from inference.departure.assembly import feature_names
from inference.departure.sequence_model import load_forecaster
from schemas.trajectory import Trajectories
from tests.forecaster_samples import (
    NAMES,
    WIDTH,
    forecaster_settings,
    ignore_progress,
    linear_plate,
)
from tests.service_process import DAYS, WELLS, ServiceProcess
from training.ensembles import write_ensemble
from training.forecaster.config import ForecasterDataSection, ForecasterModelSection
from training.forecaster.train import fit_forecaster, fit_joint_forecaster

pytestmark = [pytest.mark.train, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def embedded(seed: int) -> Trajectories:
    """Return a made-up plate with an embedding of the default encoder and four measures."""
    card = load_bundle("default").card
    plate = linear_plate(seed)
    turned = plate.features @ np.random.default_rng(0).normal(size=(WIDTH, card.dimension))
    return replace(
        plate,
        features=np.concatenate([turned, plate.features], axis=2),
        feature_names=(*feature_names("embedding", card.dimension), *NAMES),
        embedding_dimension=card.dimension,
        encoder_id=card.encoder_id,
    )


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of ``encoder``, and of ``forecaster``: two of that encoder as ensemble."""
    folder = tmp_path_factory.mktemp("joint")
    plates = [embedded(seed) for seed in range(4)]
    changes = {
        "model": ForecasterModelSection(hidden=8, components=6, name="joint"),
        "data": ForecasterDataSection(representation="both"),
    }
    config = forecaster_settings(folder / "joint", epochs=1).model_copy(update=changes)
    first = fit_joint_forecaster(plates, config, ignore_progress).bundle
    encoder = load_bundle(str(folder / "joint-encoder"))
    projected = [
        replace(
            plate,
            features=plate.features[..., :6],
            feature_names=feature_names("embedding", 6),
            embedding_dimension=6,
            encoder_id=encoder.card.encoder_id,
        )
        for plate in plates
    ]
    second = forecaster_settings(folder / "second", epochs=1, seed=1)
    bundles = [str(first), str(fit_forecaster(projected, second, ignore_progress).bundle)]
    write_ensemble(bundles, "two", folder / "forecaster")
    (folder / "joint-encoder").rename(folder / "encoder")
    return folder


@pytest.mark.timeout(300)
def test_stored_images_are_embedded_again_and_ranked_by_a_joint_model(
    ranked_copy: ServiceProcess, joint: Path
) -> None:
    encoder, forecaster = joint / "encoder", joint / "forecaster"
    done = ranked_copy.ask("embed", "--store", "--bundle", str(encoder))
    encoder_id = load_bundle(str(encoder)).card.encoder_id
    assert done.stdout == f"{WELLS * len(DAYS)} images embedded with {encoder_id}, 0 refused\n"

    ranked_copy.configure(ranking=f'representation = "embedding"\nforecaster = "{forecaster}"')
    with ranked_copy.config.open("a", encoding="utf-8") as config:
        config.write(f'[encoder]\nbundle = "{encoder}"\n')
    assert ranked_copy.ask("check").returncode == 0
    assert ranked_copy.run_once().returncode == 0

    *_, after = [ranking for ranking in ranked_copy.rankings() if ranking.day == 10]
    assert after.encoder_id == encoder_id
    model = load_forecaster(forecaster).card
    assert any(f"two-{model.sha256[:16]}" in note for note in after.notes)
    assert sum(well.score is not None for well in after.wells) >= WELLS - 2
