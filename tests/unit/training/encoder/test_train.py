"""Tests of an encoder training from images to a bundle, with stops and unsuitable settings."""

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import tifffile
import torch

from inference.bundle import load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from schemas.errors import CollapseError, ConfigError
from training.data.sources import split_crops
from training.encoder.backbones import make_backbone
from training.encoder.config import EncoderTrainingConfig
from training.encoder.load_data import load_crops
from training.encoder.model_card import describe_bundle
from training.encoder.train import TrainedEncoder, TrainingStatus, train_encoder
from training.encoder.training_data import make_batch_plan
from training.encoder.validation import Validation
from training.objectives.registry import make_objective
from training.run_files import RunFolder

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crops")


def config(cache: Path, **sections: dict[str, object]) -> EncoderTrainingConfig:
    """Return a training of some seconds: a small network on two virtual plates of a few wells."""
    torch.set_num_threads(1)
    values: dict[str, dict[str, object]] = {
        "data": {
            "virtual_plates": 2,
            "virtual_wells": 5,
            "cache": cache,
            "crop_px": 64,
            "validation_share": 0.5,
        },
        "model": {
            "backbone": "test_efficientnet",
            "weights": "none",
            "input_size": 32,
            "fixed_batch_norm": False,
            "body_rate": 1.0,
        },
        "run": {
            "steps": 6,
            "batch": 4,
            "threads": 1,
            "save_every_steps": 2,
            "check_every_steps": 3,
            "warm_up_steps": 1,
            "accelerator": "cpu",
        },
    }
    for section, keys in sections.items():
        values[section] = values.get(section, {}) | keys
    return EncoderTrainingConfig.model_validate(values)


def losses(out: Path) -> list[float]:
    return [float(row["loss"]) for row in RunFolder(out).curve()]


@pytest.fixture(scope="module")
def whole(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainedEncoder]:
    out = tmp_path_factory.mktemp("whole")
    return out, train_encoder(config(cache), out)


@pytest.fixture
def without_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the export to ONNX, which takes most of the time of a short training."""
    monkeypatch.setattr("training.encoder.train.write_bundle", lambda *_: 0.0)


def test_a_training_ends_in_a_bundle_that_the_service_opens(
    whole: tuple[Path, TrainedEncoder],
) -> None:
    out, trained = whole
    assert trained.status is TrainingStatus.FINISHED
    assert trained.bundle == out / "bundle"
    encoder = OnnxEncoder(load_bundle(str(trained.bundle)), providers="cpu")
    assert encoder.card.input_size == 32
    assert encoder.card.preprocessing.field_um == 900.0
    assert "spherorank train ssl" in (trained.bundle / "MODEL_CARD.md").read_text()
    assert len(losses(out)) == 6
    assert list((out / "tensorboard").glob("events.*"))
    assert not list(out.rglob("*.part"))


class Killed(BaseException):
    """Raised in place of SIGKILL: nothing is saved after it."""


def test_a_killed_training_continues_with_the_same_curve(
    whole: tuple[Path, TrainedEncoder], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = RunFolder.add_to_curve

    def add_until_killed(folder: RunFolder, row: dict[str, float | None]) -> None:
        real(folder, row)
        if row["step"] == 4:  # the newest checkpoint has four steps, the curve five lines
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "add_to_curve", add_until_killed)
        with pytest.raises(Killed):
            train_encoder(config(cache), tmp_path)
    assert len(losses(tmp_path)) == 5
    again = train_encoder(config(cache), tmp_path)
    assert RunFolder(tmp_path).curve() == RunFolder(whole[0]).curve()
    assert again.bundle is not None
    assert whole[1].bundle is not None
    assert (
        load_bundle(str(again.bundle)).card.encoder_id
        == load_bundle(str(whole[1].bundle)).card.encoder_id
    )


@pytest.mark.usefixtures("without_bundle")
def test_a_finished_training_continues_with_more_steps(
    whole: tuple[Path, TrainedEncoder], cache: Path, tmp_path: Path
) -> None:
    train_encoder(config(cache, run={"steps": 2}), tmp_path)
    train_encoder(config(cache, run={"steps": 3}), tmp_path)
    assert len(losses(tmp_path)) == 3
    assert losses(tmp_path)[0] == losses(whole[0])[0]


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        (
            "objective",
            "name",
            "simclr",
            ["checkpoint of objective 'measures'", "expected one of 'simclr'", "another --out"],
        ),
        ("run", "rate", 0.5, ["run.rate = 0.001", "has 0.5", "another --out"]),
    ],
)
def test_a_checkpoint_of_another_training_is_refused(
    whole: tuple[Path, TrainedEncoder],
    cache: Path,
    section: str,
    key: str,
    value: object,
    words: list[str],
) -> None:
    before = (whole[0] / "checkpoint.ckpt").read_bytes()
    with pytest.raises(ConfigError) as raised:
        train_encoder(config(cache, **{section: {key: value}}), whole[0])
    for word in [str(whole[0] / "checkpoint.ckpt"), *words]:
        assert word in str(raised.value)
    assert (whole[0] / "checkpoint.ckpt").read_bytes() == before


def test_a_folder_that_cannot_be_created_is_reported(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/run: cannot be created: Not a directory"):
        train_encoder(config(cache), tmp_path / "file" / "run")


def test_a_damaged_checkpoint_is_reported(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoint.ckpt").write_text("half")
    with pytest.raises(ConfigError, match=r"checkpoint\.ckpt: cannot be read"):
        train_encoder(config(cache), tmp_path)


def test_a_loss_that_is_not_finite_names_the_key_to_change(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"run\.rate: is 1e\+30 .* and the loss of step \d is (nan|inf); "
        r"expected a lower rate",
    ):
        train_encoder(
            config(cache, run={"rate": 1e30, "gradient_norm": 1e30, "check_every_steps": 100}),
            tmp_path,
        )
    assert not (tmp_path / "bundle").exists()


def test_a_collapsed_encoder_stops_the_training(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.encoder.collapse.MIN_RANK", 1000.0)
    with pytest.raises(CollapseError, match="has collapsed"):
        train_encoder(config(cache), tmp_path)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("section", "keys", "words"),
    [
        ("data", {"virtual_plates": 0}, ["data: has no images", "[[data.archives]]"]),
        ("data", {"virtual_plates": 1, "virtual_wells": 1}, ["with one well", "expected two or"]),
        ("model", {"backbone": "resnet-18"}, ["model.backbone", "does not know"]),
        (
            "model",
            {"backbone": "test_vit", "export_size": 64},
            ["model.export_size", "is 64", "expected the same"],
        ),
        (
            "run",
            {"accelerator": "gpu"},
            ["run: has accelerator = 'gpu'", "this machine does not support"],
        ),
        ("objective", {"name": "simclear"}, ["objective.name", "'simclear'", "simclr"]),
        ("augment", {"first": "wild"}, ["'wild'", "spheroid"]),
    ],
)
def test_an_unsuitable_setting_is_reported_with_its_key(
    cache: Path, tmp_path: Path, section: str, keys: dict[str, object], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as raised:
        train_encoder(config(cache, **{section: keys}), tmp_path)
    for word in words:
        assert word in str(raised.value)
    assert not (tmp_path / "bundle").exists()


@pytest.mark.usefixtures("without_bundle")
def test_frozen_steps_leave_the_backbone_unchanged(cache: Path, tmp_path: Path) -> None:
    train_encoder(
        config(
            cache,
            model={"frozen_steps": 2, "last_blocks": 1, "fixed_batch_norm": True},
            run={"steps": 2},
        ),
        tmp_path / "frozen",
    )
    train_encoder(
        config(
            cache,
            model={"frozen_steps": 0, "last_blocks": 1, "fixed_batch_norm": True},
            run={"steps": 2},
        ),
        tmp_path / "learning",
    )
    (frozen, learning) = (
        RunFolder(tmp_path / name).read_checkpoint()["state_dict"]
        for name in ("frozen", "learning")
    )
    torch.manual_seed(0)
    differing = [name for name in frozen if not torch.equal(frozen[name], learning[name])]
    assert any("backbone" in name for name in differing)
    assert not any("conv_stem" in name for name in differing)


def test_mixed_precision_gives_almost_the_same_loss_and_an_exact_export(
    whole: tuple[Path, TrainedEncoder], cache: Path, tmp_path: Path
) -> None:
    trained = train_encoder(config(cache, run={"precision": "bf16-mixed"}), tmp_path)
    assert losses(tmp_path)[0] == pytest.approx(losses(whole[0])[0], rel=0.05)
    assert losses(tmp_path)[0] != losses(whole[0])[0]
    assert trained.parity is not None
    assert trained.parity < 1e-3


KEPT = {
    "model": {"pooling": "levels", "last_blocks": 0},
    "objective": {"layer": "head"},
    "run": {"kept_views": 2},
}


def test_features_of_a_frozen_backbone_are_computed_once_and_train_the_head(
    cache: Path, tmp_path: Path
) -> None:
    trained = train_encoder(config(cache, **KEPT), tmp_path / "kept")
    kept = sorted((cache / "features").glob("*.npy"))
    assert [np.load(path).shape[0] for path in kept] == [
        2
    ]  # one plate for training; the other is for validation
    made_at = kept[0].stat().st_mtime_ns
    again = train_encoder(config(cache, **KEPT), tmp_path / "again")

    assert losses(tmp_path / "kept") == losses(tmp_path / "again")
    assert kept[0].stat().st_mtime_ns == made_at
    assert trained.bundle is not None
    assert again.bundle is not None
    one, other = (load_bundle(str(bundle)).card for bundle in (trained.bundle, again.bundle))
    assert one.encoder_id == other.encoder_id
    assert one.dimension == 11  # the measures that the head predicts


@pytest.mark.usefixtures("without_bundle")
def test_a_repeated_archive_has_more_feature_variants(tmp_path: Path) -> None:
    images = tmp_path / "images"
    rng = np.random.default_rng(0)
    for name in ("one", "two"):
        (images / name).mkdir(parents=True)
        for number in range(5):
            tifffile.imwrite(
                images / name / f"{number}.tif",
                rng.integers(9_000, 60_000, (96, 96), dtype=np.uint16),
            )
    archives = [{"folder": images / "one", "repeat": 3}, {"folder": images / "two", "repeat": 3}]
    sections = KEPT | {
        "data": {"archives": archives, "virtual_plates": 0},
        "objective": {"name": "simclr"},
    }
    train_encoder(config(tmp_path / "cache", **sections), tmp_path / "run")
    (kept,) = (np.load(path) for path in (tmp_path / "cache" / "features").glob("*.npy"))
    assert kept.shape[:2] == (6, 5)
    assert len(np.unique(kept[:, 0], axis=0)) == 6


@pytest.mark.usefixtures("without_bundle")
def test_a_training_on_features_continues_with_more_steps(cache: Path, tmp_path: Path) -> None:
    train_encoder(config(cache, **KEPT), tmp_path / "whole")
    train_encoder(
        config(cache, **(KEPT | {"run": {"kept_views": 2, "steps": 4}})), tmp_path / "parts"
    )
    train_encoder(config(cache, **KEPT), tmp_path / "parts")
    assert losses(tmp_path / "parts")[-1] == pytest.approx(
        losses(tmp_path / "whole")[-1], rel=0.5
    )  # the learning rate of the first steps differs
    assert len(losses(tmp_path / "parts")) == 6


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"model": {"pooling": "levels", "last_blocks": 1}},
            "the backbone is trained; expected model.last_blocks = 0",
        ),
        ({"objective": {"name": "byol"}}, "byol needs pixels"),
        (
            {"augment": {"second": "strong"}},
            "first = 'spheroid', second = 'strong', .* features have one preset",
        ),
        ({"augment": {"mask_background": 0.5}}, "mask_background = 0.5, .* and no mask"),
        (
            {"model": {"pooling": "levels", "backbone": "resnet18", "last_blocks": 0}},
            "has no conv_stem",
        ),
    ],
)
def test_features_are_stored_only_for_a_frozen_backbone_and_one_preset(
    cache: Path, tmp_path: Path, changed: dict[str, dict[str, object]], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        train_encoder(config(cache, **(KEPT | changed)), tmp_path)


def test_curve_and_configuration_are_written(
    whole: tuple[Path, TrainedEncoder],
) -> None:
    rows = RunFolder(whole[0]).curve()
    assert [row["step"] for row in rows] == list("012345")
    assert [bool(row["rank"]) for row in rows] == [False, False, True, False, False, True]
    assert json.loads((whole[0] / "config.json").read_text())["run"]["steps"] == 6


CONVIRT = {"objective": {"name": "convirt", "hidden": 16, "record_width": 8}}


def test_convirt_ends_in_a_bundle_with_the_image_encoder_alone(cache: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    trained = train_encoder(config(cache, **CONVIRT, run={"steps": 2}), tmp_path, lines.append)
    assert trained.bundle is not None
    assert trained.validation is not None
    assert trained.validation.rank >= 2
    encoder = OnnxEncoder(load_bundle(str(trained.bundle)), providers="cpu")
    backbone, dimension = make_backbone("test_efficientnet", "none", 3, 32)
    assert encoder.card.dimension == dimension
    weights = onnx.load(trained.bundle / "encoder.onnx").graph.initializer
    of_backbone = sum(weight.numel() for weight in backbone.parameters())
    assert sum(np.prod(weight.dims) for weight in weights) < 1.1 * of_backbone
    assert any(line.startswith("training images with a record: ") for line in lines)
    card = (trained.bundle / "MODEL_CARD.md").read_text()
    assert "without a label of the effect of a treatment" in card


@pytest.mark.usefixtures("without_bundle")
def test_a_checkpoint_whose_words_have_other_numbers_is_refused(
    cache: Path, tmp_path: Path
) -> None:
    train_encoder(config(cache, **CONVIRT, run={"steps": 1}), tmp_path)
    saved = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    assert {"day", "size", "low"} <= set(saved["vocabulary"])
    torch.save(saved | {"vocabulary": saved["vocabulary"][::-1]}, tmp_path / "checkpoint.ckpt")
    with pytest.raises(ConfigError, match=r"data: has other records .* expected the same images"):
        train_encoder(config(cache, **CONVIRT, run={"steps": 2}), tmp_path)


def test_the_card_of_an_encoder_that_learned_from_assays_says_so(cache: Path) -> None:
    settings = config(cache, objective={"name": "convirt", "record_assay": True})
    backbone, dimension = make_backbone("test_efficientnet", "none", 3, 32)
    objective = make_objective("convirt", backbone, dimension, settings.objective)
    split = split_crops(load_crops(settings.data), 0.5, seed=0)
    plan = make_batch_plan(settings, objective, split.training)
    card = describe_bundle(settings, plan, split, Validation(5, 3.0, 0.1, None)).model_card
    assert "with viability assays in the records of the images" in card
    assert "without a label" not in card


def test_images_are_normalised_for_the_backbone_s_weights(cache: Path) -> None:
    settings = config(cache, model={"backbone": "resnet18"})
    backbone, dimension = make_backbone("resnet18", "none", 3, 32)
    objective = make_objective("measures", backbone, dimension, settings.objective)
    plan = make_batch_plan(settings, objective, load_crops(settings.data))
    assert np.allclose(plan.mean, (0.485, 0.456, 0.406))
