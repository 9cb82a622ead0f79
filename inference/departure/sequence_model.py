"""Sequence model in ONNX format that predicts the untreated readout of wells."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inference.bundle import read_card_and_model
from inference.onnx_session import RUNTIME_ERRORS, open_on_cpu
from schemas.arrays import Float64Array
from schemas.errors import BundleError, ProfileError
from schemas.forecaster_bundle import ForecasterCard
from schemas.trajectory import Trajectories

MODEL_FILE = "forecaster.onnx"
"""File name of the network in a forecaster bundle."""
CARD_FILE = "forecaster.json"
"""File name of the card in a forecaster bundle."""
FLOAT = "tensor(float)"
"""Name of the float32 tensor type in ONNX Runtime."""
_MAX_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ForecasterBundle:
    """A sequence model with the card that describes it."""

    folder: Path
    card: ForecasterCard
    model: bytes


def load_forecaster(folder: Path) -> ForecasterBundle:
    """Load a forecaster bundle from a folder with ``forecaster.onnx`` and ``forecaster.json``.

    Raises
    ------
    BundleError
        If a file is missing, the card is not valid, or the digest differs.
    """
    card, model = read_card_and_model(folder, ForecasterCard, CARD_FILE, MODEL_FILE)
    return ForecasterBundle(folder, card, model)


class OnnxSequenceModel:
    """Sequence model of a forecaster bundle; implements :class:`inference.ports.SequenceModel`.

    Raises
    ------
    BundleError
        If the model does not match its card, or fails on two wells and two days.
    """

    def __init__(self, bundle: ForecasterBundle, intra_op_threads: int = 1) -> None:
        self._card = bundle.card
        self._where = bundle.folder / MODEL_FILE
        self._session = open_on_cpu(bundle.model, self._where, intra_op_threads)
        width = len(self._card.feature_names)
        _check_tensors(
            "inputs",
            self._session.get_inputs(),
            {"features": [None, None, width], "days": [None], "readout_day": []},
            self._where,
        )
        _check_tensors(
            "outputs", self._session.get_outputs(), {"readout": [None, width]}, self._where
        )
        days = self._card.days or (1, 2)
        try:
            self._run(np.zeros((2, len(days), width)), days, max(days) + 3)
        except ProfileError as error:
            raise BundleError(error.where, error.problem) from error

    @property
    def name(self) -> str:
        """Name of the model and the first digits of its digest."""
        return f"{self._card.name}-{self._card.sha256[:16]}"

    @property
    def days(self) -> Sequence[int]:
        """Days up to dosing of which a plate needs images."""
        return self._card.days

    def check_fits(self, feature_names: Sequence[str], encoder_id: str) -> None:
        """Raise ProfileError unless the model was trained on these feature names and encoder id.

        Parameters
        ----------
        feature_names
            Names of the features by which wells are compared.
        encoder_id
            Encoder of the embedding among the features; "" without an embedding.
        """
        if self._card.encoder_id != encoder_id:
            trained_on, compared_by = _inputs_of(self._card.encoder_id), _inputs_of(encoder_id)
            raise ProfileError(
                self._where,
                f"was trained on {trained_on}; expected a model trained on {compared_by}, by which "
                "wells are compared",
            )
        expected = self._card.feature_names
        if tuple(feature_names) != expected:
            index = next(
                (
                    index
                    for index, pair in enumerate(zip(feature_names, expected, strict=False))
                    if pair[0] != pair[1]
                ),
                None,
            )
            first = (
                ""
                if index is None
                else f"; feature {index + 1} is {feature_names[index]}, expected {expected[index]}"
            )
            raise ProfileError(
                self._where,
                f"wells are compared by {len(feature_names)} features; {CARD_FILE} names "
                f"{len(expected)} other features{first}",
            )

    def predict(self, trajectories: Trajectories, before: Sequence[int], day: int) -> Float64Array:
        """Return (N, D) features predicted for ``day`` from Trajectories on the days ``before``.

        See :meth:`inference.ports.SequenceModel.predict`.
        """
        self.check_fits(
            trajectories.feature_names,
            trajectories.encoder_id if trajectories.embedding_dimension else "",
        )
        if missing := [each for each in self._card.days if each not in before]:
            found = (
                f"plate {trajectories.plate} has none of {_listed(missing)}; "
                f"up to dosing it has {_listed(before)}"
            )
            raise ProfileError(
                self._where, f"needs images of the days {_listed(self._card.days)}; {found}"
            )
        features = np.stack([trajectories.on(each) for each in before], axis=1)
        features = np.where(np.abs(features) < _MAX_FLOAT32, features, np.nan)
        imaged = np.asarray(np.isfinite(features).any(axis=(1, 2)))
        predicted = np.full((len(trajectories.wells), features.shape[2]), np.nan)
        predicted[imaged] = self._run(features[imaged], before, day)
        if (without := imaged & ~np.isfinite(predicted).all(axis=1)).any():
            wells = ", ".join(trajectories.wells[well] for well in np.flatnonzero(without))
            raise ProfileError(
                self._where,
                f"predicts no number for plate {trajectories.plate}, wells {wells}; "
                "expected numbers also where images are missing",
            )
        return predicted

    def _run(self, features: Float64Array, days: Sequence[int], day: int) -> Float64Array:
        """Return the (n, D) output of the network for (n, T, D) features."""
        inputs = {
            "features": features.astype(np.float32),
            "days": np.array(days, np.float32),
            "readout_day": np.array(day, np.float32),
        }
        try:
            [readout] = self._session.run(["readout"], inputs)
        except RUNTIME_ERRORS as error:
            raise ProfileError(
                self._where,
                f"cannot compute {' × '.join(map(str, features.shape))} "
                f"(wells × days × features): {error}",
            ) from error
        expected = (features.shape[0], features.shape[2])
        if readout.shape != expected:
            raise ProfileError(
                self._where, f"readout is {readout.shape}; expected {expected}, wells × features"
            )
        return np.asarray(readout, dtype=np.float64)


def _check_tensors(
    role: str, found: Sequence[Any], expected: dict[str, list[int | None]], model_file: Path
) -> None:
    """Raise BundleError unless the tensors have the expected names, types and shapes.

    Parameters
    ----------
    role
        "inputs" or "outputs", for the message.
    found
        Tensors of the ONNX session.
    expected
        Sizes by name; None stands for any size.
    model_file
        File of the model, for the message.
    """

    def fits(tensor: Any) -> bool:  # noqa: ANN401 - onnxruntime has no types
        sizes = expected.get(tensor.name)
        if sizes is None or tensor.type != FLOAT or len(tensor.shape) != len(sizes):
            return False
        return all(
            not isinstance(has, int) or has == size
            for has, size in zip(tensor.shape, sizes, strict=True)
        )

    if len(found) != len(expected) or not all(map(fits, found)):
        described = ", ".join(f"{tensor.name} {tensor.shape} {tensor.type}" for tensor in found)
        wanted = ", ".join(
            f"{name} {['any' if size is None else size for size in sizes]} {FLOAT}"
            for name, sizes in expected.items()
        )
        raise BundleError(model_file, f"{role} are {described}; expected {wanted}")


def _inputs_of(encoder_id: str) -> str:
    """Return a description of the features with an encoder id, for messages."""
    return f"the embedding of {encoder_id}" if encoder_id else "measures alone"


def _listed(days: Sequence[int]) -> str:
    """Return days as text, for messages."""
    return ", ".join(map(str, days)) or "none"
