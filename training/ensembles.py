"""Ensembles of encoders or of forecasters as one bundle: ``spherorank train ensemble``.

All networks are in one ONNX file, so the service runs an ensemble as any other bundle, and changes
to it as to any other encoder. The embedding of an ensemble of encoders is the embeddings of its
parts one after the other. Each part is divided by the length of its embedding of the test image, so
that no part outweighs the others by its unit. The forecast of an ensemble of forecasters is the
mean of the forecasts of its parts: the variance of the mean of several networks is smaller than
that of one of them.
"""

import hashlib
from collections.abc import Sequence
from functools import reduce
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

from inference.bundle import (
    CARD_FILE,
    MODEL_FILE,
    Bundle,
    canary_image,
    load_bundle,
)
from inference.departure import sequence_model
from inference.departure.sequence_model import ForecasterBundle, OnnxSequenceModel, load_forecaster
from inference.encoding.onnx_encoder import OnnxEncoder
from schemas.encoder_bundle import BundleCard
from schemas.errors import ConfigError
from schemas.forecaster_bundle import ForecasterCard
from training.encoder.export import replace_folder

OUTPUT = "ensemble"
FORECAST = "readout"
CANARY_VALUES = 64
CANARY_TOLERANCE = 1e-3  # of values whose length is 1 for each part
FEWEST_PARTS = 2


def write_ensemble(names: Sequence[str], name: str, out: Path) -> str:
    """Write the ensemble of encoder bundles or of forecaster bundles to ``out``, and describe it.

    Parameters
    ----------
    names
        Folders of bundles of one kind, or names of shipped encoders.
    name
        Name of the new bundle.

    Raises
    ------
    ConfigError
        If there is one bundle only, or the bundles do not fit each other.
    """
    if len(names) < FEWEST_PARTS:
        raise ConfigError("BUNDLES", f"are {len(names)}; expected two or more bundles of one kind")
    if all((Path(each) / sequence_model.CARD_FILE).is_file() for each in names):
        forecaster = write_forecaster_ensemble(
            [load_forecaster(Path(each)) for each in names], name, out
        )
        return f"{out}: mean forecast of {len(names)} models, {forecaster.name}"
    card = write_encoder_ensemble([load_bundle(each) for each in names], name, out)
    return f"{out}: {card.encoder_id}, {card.dimension} values of {len(names)} encoders"


def write_encoder_ensemble(bundles: Sequence[Bundle], name: str, out: Path) -> BundleCard:
    """Write an encoder bundle that embeds with several encoders, and return its BundleCard.

    The new bundle is opened with the service's encoder before it replaces ``out``.

    Raises
    ------
    ConfigError
        If the bundles differ in input size or preprocessing.
    """
    cards = [bundle.card for bundle in bundles]
    first = cards[0]
    for key in ("input_size", "preprocessing"):
        found = [getattr(card, key) for card in cards]
        if any(each != found[0] for each in found):
            values = "; ".join(
                f"{card.name}: {each}" for card, each in zip(cards, found, strict=True)
            )
            raise ConfigError(
                key, f"differs between the bundles ({values}); expected the same input of all"
            )
    image = canary_image(first.canary.seed)
    embeddings = [OnnxEncoder(bundle, "cpu", 1).embed(image, 1) for bundle in bundles]
    lengths = [max(float(np.linalg.norm(each)), 1e-6) for each in embeddings]
    whole = np.concatenate(
        [each / length for each, length in zip(embeddings, lengths, strict=True)]
    )
    model, outputs = _merge(
        [bundle.model for bundle in bundles],
        [{card.input_name: first.input_name} for card in cards],
    )
    _add_scaled_parts(model, outputs, lengths, len(whole))
    content: bytes = model.SerializeToString()
    parts = ", ".join(card.encoder_id for card in cards)
    card = first.model_copy(
        update={
            "name": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "output_name": OUTPUT,
            "dimension": len(whole),
            "canary": first.canary.model_copy(
                update={
                    "expected": tuple(round(float(each), 7) for each in whole[:CANARY_VALUES]),
                    "tolerance": CANARY_TOLERANCE,
                }
            ),
            "ranking_weight": max(card.ranking_weight for card in cards),
            "provenance": f"ensemble of {parts} by training/ensembles.py; "
            + "; ".join(card.provenance for card in cards),
            "licence": " AND ".join(dict.fromkeys(card.licence for card in cards)),
        }
    )
    with replace_folder(out) as aside:
        (aside / MODEL_FILE).write_bytes(content)
        (aside / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for file in ("NOTICE", "LICENSE"):
            texts = [
                (bundle.folder / file).read_text(encoding="utf-8")
                for bundle in bundles
                if (bundle.folder / file).is_file()
            ]
            (aside / file).write_text("\n".join(dict.fromkeys(texts)), encoding="utf-8")
        OnnxEncoder(load_bundle(str(aside)), "cpu", 1)
    return card


def write_forecaster_ensemble(
    bundles: Sequence[ForecasterBundle], name: str, out: Path
) -> ForecasterCard:
    """Write a forecaster bundle with the mean forecast of several, and return its ForecasterCard.

    The new bundle is opened with the service's sequence model before it replaces ``out``.

    Raises
    ------
    ConfigError
        If the bundles differ in encoder or features.
    """
    cards = [bundle.card for bundle in bundles]
    first = cards[0]
    for key in ("encoder_id", "feature_names"):
        if any(getattr(card, key) != getattr(first, key) for card in cards):
            names = ", ".join(str(bundle.folder) for bundle in bundles)
            raise ConfigError(
                key, f"differs between {names}; expected forecasters of the same features"
            )
    inputs = ("features", "days", "readout_day")
    model, outputs = _merge(
        [bundle.model for bundle in bundles], [{each: each for each in inputs}] * len(bundles)
    )
    model.graph.node.append(helper.make_node("Mean", outputs, [FORECAST]))
    model.graph.output.append(
        helper.make_tensor_value_info(
            FORECAST, TensorProto.FLOAT, ["wells", len(first.feature_names)]
        )
    )
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    card = first.model_copy(
        update={
            "name": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "days": tuple(sorted({day for each in cards for day in each.days})),
            "created_by": "spherorank train ensemble of "
            + ", ".join(f"{each.name}-{each.sha256[:16]}" for each in cards),
        }
    )
    with replace_folder(out) as aside:
        (aside / sequence_model.MODEL_FILE).write_bytes(content)
        (aside / sequence_model.CARD_FILE).write_text(
            card.model_dump_json(indent=2) + "\n", encoding="utf-8"
        )
        OnnxSequenceModel(load_forecaster(aside))
    return card


def _merge(
    models: Sequence[bytes], inputs: Sequence[dict[str, str]]
) -> tuple[onnx.ModelProto, list[str]]:
    """Return one model of all networks with common inputs and no output, and their output names.

    Parameters
    ----------
    models
        ONNX files of one output each.
    inputs
        For each model, the common name of each of its inputs.

    Raises
    ------
    ConfigError
        If the files are of different versions of ONNX.
    """
    parts, outputs = [], []
    for number, (content, common) in enumerate(zip(models, inputs, strict=True)):
        prefix = f"part{number}."
        part = compose.add_prefix(onnx.load_from_string(content), prefix)
        outputs.append(part.graph.output[0].name)
        for own, shared in common.items():
            part.graph.node.insert(0, helper.make_node("Identity", [shared], [prefix + own]))
        parts.append(part)
    versions = {(part.ir_version, part.opset_import[0].version) for part in parts}
    if len(versions) > 1:
        raise ConfigError(
            "BUNDLES", f"are of ONNX versions {sorted(versions)}; expected one version of all"
        )
    common_inputs = []
    for own, shared in inputs[0].items():
        tensor = next(each for each in parts[0].graph.input if each.name == f"part0.{own}")
        common_inputs.append(onnx.ValueInfoProto.FromString(tensor.SerializeToString()))
        common_inputs[-1].name = shared
    for part in parts:
        del part.graph.input[:]
    merged = reduce(_join, parts)
    merged.graph.input.extend(common_inputs)
    del merged.graph.output[:]
    return merged, outputs


def _join(one: onnx.ModelProto, other: onnx.ModelProto) -> onnx.ModelProto:
    """Append the graph and functions of another model to a model, and return the first one."""
    for field in ("node", "initializer", "value_info", "sparse_initializer"):
        getattr(one.graph, field).extend(getattr(other.graph, field))
    one.functions.extend(other.functions)
    return one


def _add_scaled_parts(
    model: onnx.ModelProto, outputs: Sequence[str], lengths: Sequence[float], dimension: int
) -> None:
    """Append nodes that divide each part by its length and concatenate the parts."""
    scaled = []
    for output, length in zip(outputs, lengths, strict=True):
        name = f"{output}.length"
        model.graph.initializer.append(numpy_helper.from_array(np.array(length, np.float32), name))
        model.graph.node.append(helper.make_node("Div", [output, name], [f"{output}.scaled"]))
        scaled.append(f"{output}.scaled")
    model.graph.node.append(helper.make_node("Concat", scaled, [OUTPUT], axis=1))
    model.graph.output.append(
        helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", dimension])
    )
    onnx.checker.check_model(model)
