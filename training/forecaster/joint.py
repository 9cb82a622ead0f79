"""A projection of an encoder's embedding that is trained together with its forecaster.

``spherorank train forecaster --joint`` trains it. The projection keeps directions that can be
predicted for untreated wells. Without further terms it would keep one direction only, or one of the
illumination. So two terms of the loss require that projected values are not correlated, and that
they predict the tissue measures. The projection becomes the last node of the encoder's ONNX file.
This is another encoder, and the service changes to it as to any other
(:mod:`daemon.jobs.re_embedding`).
"""

import hashlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn

from inference.bundle import (
    CARD_FILE,
    MODEL_FILE,
    Bundle,
    canary_image,
    load_bundle,
)
from inference.departure.assembly import feature_names
from inference.encoding.onnx_encoder import OnnxEncoder
from schemas.encoder_bundle import BundleCard
from schemas.trajectory import Trajectories
from training.encoder.export import replace_folder
from training.forecaster.examples import ForecastExample
from training.forecaster.model import TrajectoryForecaster, standardise

OUTPUT = "projected"
CANARY_TOLERANCE = 1e-3  # share of the largest projected value


class JointForecaster(nn.Module):  # type: ignore[misc] # torch is not typed here
    """A projection, a forecaster of its values, and a linear layer that predicts measures.

    Parameters
    ----------
    projection
        (dimension, embedding): initial projection.
    """

    def __init__(
        self, projection: torch.Tensor, hidden: int, measures: int, body: str = "gru"
    ) -> None:
        super().__init__()
        dimension, self.embedding = projection.shape
        self.projection = nn.Parameter(projection.clone())
        self.forecaster = TrajectoryForecaster(torch.eye(dimension), hidden, body)
        self.reading = nn.Linear(dimension, measures)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Return the projected embedding, (…, embedding + measures) → (…, dimension).

        It is NaN without an image.
        """
        embedding = features[..., : self.embedding]
        missing = torch.isnan(embedding).any(dim=-1, keepdim=True)
        projected = torch.where(missing, torch.zeros_like(embedding), embedding) @ self.projection.T
        return torch.where(missing, torch.full_like(projected, torch.nan), projected)

    def project_example(self, example: ForecastExample) -> ForecastExample:
        """Return a copy of an example with the projected embedding as its only features."""
        return replace(
            example,
            features=self.project(example.features),
            readout=self.project(example.readout),
        )

    def constraint_loss(self, example: ForecastExample) -> torch.Tensor:
        """Return the scalar loss of an example that keeps the projection useful.

        It is the correlation between projected values, plus the error of the tissue measures that a
        linear layer predicts from them.
        """
        features = torch.cat([example.features, example.readout.unsqueeze(1)], dim=1)
        projected, _, _, is_projected = standardise(self.project(features))
        measured, _, _, is_measured = standardise(features[..., self.embedding :])
        known = is_projected.all(dim=2) & is_measured.all(dim=2)
        values, measures = projected[known], measured[known]  # (images, …)
        products = values.T @ values / max(len(values), 1)  # (dimension, dimension)
        correlation = products - torch.diag(torch.diagonal(products))
        errors = self.reading(values) - measures
        return correlation.square().mean() * len(products) + errors.square().mean()


def project_trajectories(
    plate: Trajectories, projection: np.ndarray, encoder_id: str
) -> Trajectories:
    """Return a plate's Trajectories with only the embedding as features, projected by a matrix.

    Parameters
    ----------
    projection
        (dimension, embedding).
    encoder_id
        Identifier of the projecting encoder.
    """
    features = plate.features[..., : projection.shape[1]] @ projection.T
    names = feature_names("embedding", len(projection))
    return replace(
        plate,
        features=features,
        feature_names=names,
        embedding_dimension=len(projection),
        encoder_id=encoder_id,
    )


def write_projecting_encoder(
    bundle: Bundle, projection: np.ndarray, name: str, out: Path
) -> BundleCard:
    """Write an encoder bundle with a projection matrix as last step, and return its BundleCard.

    The new bundle is opened with the service's encoder before it replaces ``out``.

    Parameters
    ----------
    projection
        (dimension, embedding) float32.
    """
    content = _append_projection(bundle, projection)
    card = _make_card(bundle, projection, name, content)
    with replace_folder(out) as aside:
        (aside / MODEL_FILE).write_bytes(content)
        (aside / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        for part in ("NOTICE", "LICENSE", "MODEL_CARD.md"):
            if (bundle.folder / part).is_file():
                (aside / part).write_bytes((bundle.folder / part).read_bytes())
        with (aside / "NOTICE").open("a", encoding="utf-8") as notice:
            notice.write(
                f"\nChanged further: a linear projection to {len(projection)} values, "
                "learned by SpheroRank, is appended.\n"
            )
        OnnxEncoder(load_bundle(str(aside)), "cpu", 1)
    return card


def _append_projection(bundle: Bundle, projection: np.ndarray) -> bytes:
    """Return the bundle's ONNX file with the projection as an additional last node."""
    model = onnx.load(io.BytesIO(bundle.model))
    graph = model.graph
    graph.initializer.append(
        onnx.numpy_helper.from_array(
            np.ascontiguousarray(projection.T, dtype=np.float32), "projection"
        )
    )
    graph.node.append(
        onnx.helper.make_node("MatMul", [bundle.card.output_name, "projection"], [OUTPUT])
    )
    del graph.output[:]
    graph.output.append(
        onnx.helper.make_tensor_value_info(
            OUTPUT, onnx.TensorProto.FLOAT, ["batch", len(projection)]
        )
    )
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def _make_card(bundle: Bundle, projection: np.ndarray, name: str, content: bytes) -> BundleCard:
    """Return the card of the projecting encoder; its canary follows from the bundle's encoder."""
    card = bundle.card
    image = canary_image(card.canary.seed)
    expected = OnnxEncoder(bundle, "cpu", 1).embed(image, 1) @ projection.T
    canary = card.canary.model_copy(
        update={
            "expected": tuple(map(float, expected)),
            "tolerance": CANARY_TOLERANCE * max(float(np.abs(expected).max()), 1.0),
        }
    )
    return card.model_copy(
        update={
            "name": name,
            "sha256": hashlib.sha256(content).hexdigest(),
            "output_name": OUTPUT,
            "dimension": len(projection),
            "canary": canary,
            "provenance": f"{card.encoder_id} with a projection learned by "
            f"training/forecaster/joint.py; {card.provenance}",
        }
    )


def initial_projection(plates: Sequence[Trajectories], directions: torch.Tensor) -> torch.Tensor:
    """Return an initial projection, (dimension, embedding), from principal directions of the wells.

    Each value is scaled by its spread over the wells of a plate.

    Parameters
    ----------
    directions
        (embedding, dimension), as :func:`principal_directions` returns them.
    """
    width = plates[0].embedding_dimension
    spreads = [
        standardise(torch.from_numpy(plate.features[..., :width].astype(np.float32)))[2]
        for plate in plates
    ]
    return (
        directions / torch.stack(spreads).mean(dim=0).clamp(min=1e-3).unsqueeze(1)
    ).T.contiguous()
