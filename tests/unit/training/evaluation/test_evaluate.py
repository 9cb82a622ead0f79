import json
from pathlib import Path

import pytest

from schemas.errors import BundleError, ConfigError, OutputError
from training.evaluation.evaluate import evaluate_bundles
from training.evaluation.plates import EvaluationSet
from training.evaluation.proxy_correlation import ProxyCorrelation
from training.evaluation.report import SECTIONS, text_table
from training.evaluation.rows import ChartPoints, EncoderRow, read_row, write_text_atomically

pytestmark = pytest.mark.train

SMALL = EvaluationSet(
    mixed=(201, 202, 203),
    one_mechanism=(),
    shifted=(),
    size_px=96,
    wells=16,
    viewed_wells=3,
    baseline_steps=2,
    service_calibration=False,
)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_encoders_are_evaluated_once_and_compared_with_the_measures(tmp_path: Path) -> None:
    out, cache = tmp_path / "out", tmp_path / "cache"
    rows = evaluate_bundles(["default"], out, cache_folder=cache, chosen=SMALL)
    assert [(row.name, row.kind) for row in rows] == [
        ("measures", "measures"),
        ("default", "encoder"),
    ]
    (image_set,) = (out / "rows").iterdir()
    assert image_set.name.startswith("virtual-")
    written = json.loads((image_set / f"{rows[1].encoder_id}.json").read_text(encoding="utf-8"))
    for name in (
        "uncalibrated_mixed",
        "calibrated_both_mixed",
        "probe_all",
        "resnet18_10",
        "knn",
        "replicate_map",
        "same_well",
        "dose_order",
    ):
        assert written["numbers"][name] is not None
    assert written["numbers"]["variation_exposure"] < 0.05  # the preprocessing removes the exposure
    assert rows[0].numbers["uncalibrated_mixed"] > 0.4
    assert written["numbers"]["proposed_ranking_weight"] in (0.0, 0.1)
    assert rows[1].weight_proposal in (out / "table.txt").read_text(encoding="utf-8")
    assert rows[0].weight_proposal == ""
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "<table>" in page
    assert page.count("data:image/png") == 6  # one well and its five variants
    before = {
        path: path.stat().st_mtime_ns for path in [*out.glob("rows/*/*"), *cache.rglob("*.np*")]
    }
    assert evaluate_bundles(["default"], out, cache_folder=cache, chosen=SMALL) == rows
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_missing_bundle_is_reported_before_rendering(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no-such-encoder"):
        evaluate_bundles(["no-such-encoder"], tmp_path / "out", cache_folder=tmp_path / "cache")
    assert not list(tmp_path.iterdir())


def test_an_encoder_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="same encoder"):
        evaluate_bundles(["default", "default"], tmp_path / "out", cache_folder=tmp_path / "cache")


def row(**numbers: float | None) -> EncoderRow:
    points = ChartPoints(kill_percent=(), uncalibrated=(), calibrated=(), across=(), up=())
    return EncoderRow(
        name="one",
        encoder_id="one-1",
        evaluated_on="abc",
        kind="encoder",
        dimension=3,
        ranking_weight=0.0,
        numbers=numbers,
        points=points,
    )


def test_a_row_of_other_images_or_another_encoder_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "row.json"
    write_text_atomically(path, row(knn=0.5).model_dump_json())
    assert read_row(path, "one-1", "abc") == row(knn=0.5)
    assert read_row(path, "one-1", "other images") is None
    assert read_row(path, "other-1", "abc") is None
    path.write_text("half a r")
    assert read_row(path, "one-1", "abc") is None


def test_a_file_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"row\.json"):
        write_text_atomically(tmp_path / "file" / "row.json", "")


def test_the_table_shows_known_metrics_and_a_dash_for_missing_ones() -> None:
    table = text_table(
        [row(knn=0.5, probe_10=None), row(knn=0.25, probe_10=0.4)],
        [ProxyCorrelation("knn", "uncalibrated_mixed", -0.5, 4)],
        "virtual-0123",
    )
    assert table.startswith("images: virtual-0123\n")
    assert "0.500" in table
    assert "–" in table
    assert "replicate mAP" not in table
    assert "-0.50 (4 encoders)" in table


def test_the_proposed_weight_is_stated_with_its_reason() -> None:
    proposed = row(
        embedding_gain=0.031,
        embedding_gain_low=0.012,
        embedding_gain_plates=18.0,
        proposed_ranking_weight=0.1,
    )
    assert proposed.weight_proposal == (
        "one: ranking_weight is 0, proposed 0.1 (use the embedding): beside the measures it "
        "changes the correlation with the true kill by +0.031 on average over 18 plates, at "
        "least +0.012 with 95 % confidence"
    )
    assert proposed.weight_proposal in text_table([proposed], [], "virtual-0123")


def test_no_metric_is_in_two_tables() -> None:
    shown = [name for columns in SECTIONS.values() for name in columns]
    assert len(shown) == len(set(shown))
