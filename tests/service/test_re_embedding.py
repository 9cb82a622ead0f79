"""The switch to another encoder: all stored images are embedded before the service uses it.

The embeddings by the earlier encoder are kept.
"""

import os
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from daemon.commands import app
from daemon.config import Config, load_config
from daemon.jobs import re_embedding
from inference.bundle import canary_planes, load_bundle
from inference.encoding.preprocessing import preprocess
from inference.onnx_session import CPU_PROVIDER, create_session
from schemas.encoder_bundle import BundleCard
from schemas.errors import SourceGoneError
from store.embedding_ledger import SqlEmbeddingLedger
from tests.service_process import DAYS, PLATE, WELLS, ServiceProcess

IMAGES = WELLS * len(DAYS)
CANARY_UM_PER_PX = 4.0


@pytest.fixture(scope="module")
def another(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a second encoder bundle, which scales the background and so differs."""
    folder = tmp_path_factory.mktemp("bundles") / "another"
    shipped = load_bundle("default")
    preprocessing = shipped.card.preprocessing.model_copy(
        update={"background": 0.8 * shipped.card.preprocessing.background}
    )
    session = create_session(shipped.model, [CPU_PROVIDER], 1)
    pixels = preprocess(
        canary_planes(shipped.card.canary.seed),
        1,
        CANARY_UM_PER_PX,
        preprocessing,
        shipped.card.input_size,
    )
    [embedding] = session.run(
        [shipped.card.output_name], {shipped.card.input_name: pixels[np.newaxis]}
    )
    canary = shipped.card.canary.model_copy(update={"expected": tuple(embedding[0][:8].tolist())})
    folder.mkdir()
    shutil.copy(shipped.folder / "encoder.onnx", folder)
    card = shipped.card.model_copy(
        update={"name": "another", "preprocessing": preprocessing, "canary": canary}
    )
    (folder / "bundle.json").write_text(card.model_dump_json())
    return folder


@pytest.fixture(scope="module")
def encoder_id(another: Path) -> str:
    return BundleCard.model_validate_json((another / "bundle.json").read_bytes()).encoder_id


def with_bundle(service: ServiceProcess, bundle: Path) -> Config:
    """Set another encoder bundle in the configuration file and return the loaded settings."""
    if "[encoder]" not in service.config.read_text():
        service.config.write_text(service.config.read_text() + f'[encoder]\nbundle = "{bundle}"\n')
    return load_config(service.config)


def embedded(service: ServiceProcess, encoder_id: str) -> tuple[int, int]:
    """Return the numbers of images that an encoder embedded and refused."""
    with closing(SqlEmbeddingLedger(f"sqlite:///{service.folder}/spherorank.sqlite")) as ledger:
        [of_plate] = ledger.embedded(encoder_id)
    assert of_plate.images == IMAGES
    return of_plate.embedded, of_plate.refused


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_killed_re_embedding_continues_and_the_plate_is_ranked_with_both_encoders(
    ranked_copy: ServiceProcess, another: Path, encoder_id: str
) -> None:
    command = ranked_copy.command("embed", "--store", "--bundle", str(another), "--jobs", "2")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        ranked_copy.wait_for(lambda: embedded(ranked_copy, encoder_id)[0] >= 1)
        process.send_signal(signal.SIGKILL)
    half, _ = embedded(ranked_copy, encoder_id)
    assert 1 <= half < IMAGES
    (before,) = [ranking for ranking in ranked_copy.rankings() if ranking.day == 10]

    with_bundle(ranked_copy, another)
    refused, checked = ranked_copy.ask("run", "--once"), ranked_copy.ask("check")
    assert (refused.returncode, checked.returncode) == (78, 78)
    for text in (refused.stderr, checked.stderr):
        missing = f"{IMAGES - half} of {IMAGES} images of {PLATE}"
        assert f"encoder.bundle: {encoder_id} has not embedded {missing}; expected" in text
        assert "run spherorank embed --store" in text

    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{IMAGES - half} images embedded with {encoder_id}, 0 refused\n"
    assert embedded(ranked_copy, encoder_id) == (IMAGES, 0)

    assert ranked_copy.run_once().returncode == 0
    *_, after = [ranking for ranking in ranked_copy.rankings() if ranking.day == 10]
    assert (before.encoder_id, after.encoder_id) == (
        load_bundle("default").card.encoder_id,
        encoder_id,
    )
    assert after.replaces == before.revision
    assert {well.well for well in after.wells} == {well.well for well in before.wells}
    assert [well.score for well in after.wells] != [well.score for well in before.wells]


def test_missing_and_changed_files_are_listed_and_the_rest_is_embedded(
    ranked_copy: ServiceProcess, another: Path, encoder_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = ranked_copy.wells()[:3]
    ranked_copy.well(first, 7)[0].unlink()
    changed = ranked_copy.well(second, 8)[1]
    changed.write_bytes(ranked_copy.well(third, 8)[1].read_bytes())
    secretly = ranked_copy.well(third, 10)[2]
    times = secretly.stat()
    content = bytearray(secretly.read_bytes())
    content[-100] ^= 1
    secretly.write_bytes(bytes(content))
    os.utime(secretly, ns=(times.st_atime_ns, times.st_mtime_ns))

    monkeypatch.chdir(ranked_copy.folder)
    done = re_embedding.re_embed(with_bundle(ranked_copy, another), 1)
    assert done.embedded == IMAGES - 3
    missing = "is missing, or not the version that was ingested"
    changed_pixels = (
        "its pixels differ from the ingested ones; expected the same file and the same source.bits"
    )
    assert {str(error) for error in done.refused} == {
        f"{PLATE} {first} day07: {PLATE}/day07/{first}_z1.tif: {missing}",
        f"{PLATE} {second} day08: {PLATE}/day08/{second}_z2.tif: {missing}",
        f"{PLATE} {third} day10: {PLATE}/day10/{third}_z1.tif: {changed_pixels}",
    }
    assert embedded(ranked_copy, encoder_id) == (IMAGES - 3, 3)
    assert ranked_copy.ask("check").returncode == 0, (
        "an image that cannot be embedded does not prevent the switch"
    )


def test_an_unmounted_folder_is_not_mistaken_for_missing_files(
    ranked_copy: ServiceProcess, another: Path, encoder_id: str
) -> None:
    aside = ranked_copy.drop.rename(ranked_copy.folder / "aside")
    done = ranked_copy.ask("embed", "--store", "--bundle", str(another))
    assert done.returncode == 1
    assert "expected the folder from which the images were ingested" in done.stderr
    aside.joinpath("nothing").mkdir()
    config = with_bundle(ranked_copy, another)
    empty = config.model_copy(
        update={
            "source": config.source.model_copy(update={"path": aside / "nothing"}),
            "store": absolute_store(ranked_copy, config),
        }
    )
    with pytest.raises(SourceGoneError, match=r"is empty; .* is the share mounted"):
        re_embedding.re_embed(empty, 1)
    assert embedded(ranked_copy, encoder_id) == (0, 0)


def absolute_store(service: ServiceProcess, config: Config) -> object:
    return config.store.model_copy(update={"url": f"sqlite:///{service.folder}/spherorank.sqlite"})


@pytest.mark.parametrize(
    "arguments",
    [
        ["embed"],
        ["embed", "--store", "a.tif"],
        ["embed", "--store", "--out", "e.parquet"],
        ["embed", "a.tif"],
    ],
)
def test_embed_needs_either_image_files_or_the_store(arguments: list[str]) -> None:
    asked = CliRunner().invoke(app, arguments)
    assert asked.exit_code == 2
    assert "expected image files with --out, or --store" in " ".join(
        asked.stderr.replace("│", " ").split()
    )


def test_a_wrong_bundle_is_named_before_the_store_is_opened(empty_service: ServiceProcess) -> None:
    asked = empty_service.ask("embed", "--store", "--bundle", "nowhere")
    assert asked.returncode == 78
    assert "nowhere: is no encoder bundle" in asked.stderr
    assert not (empty_service.folder / "spherorank.sqlite").exists()
