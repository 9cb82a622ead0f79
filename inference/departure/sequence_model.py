"""A learned sequence model, as ONNX, that foresees what a well becomes if it stays untreated."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.bundle import read_checked
from inference.onnx_session import CPU, RUNTIME_ERRORS, cannot_load, create_session
from schemas.errors import BundleError, ProfileError
from schemas.forecaster_bundle import ForecasterCard
from schemas.trajectory import Trajectories

MODEL_FILE = "forecaster.onnx"
CARD_FILE = "forecaster.json"
FLOAT = "tensor(float)"
_LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ForecasterBundle:
    """A model and the card that describes it."""

    folder: Path
    card: ForecasterCard
    model: bytes


def load_forecaster(folder: Path) -> ForecasterBundle:
    """Read a folder with ``forecaster.onnx`` and ``forecaster.json``.

    Raises
    ------
    BundleError
        If a file is missing, the card does not parse, or the digest differs.
    """
    card, model = read_checked(folder, ForecasterCard, CARD_FILE, MODEL_FILE)
    return ForecasterBundle(folder, card, model)


class OnnxSequenceModel:
    """Foresees with a bundle's network; implements :class:`inference.ports.SequenceModel`.

    Raises
    ------
    BundleError
        If the model does not fit its card, or computes nothing on two wells and two days.
    """

    def __init__(self, bundle: ForecasterBundle, intra_op_threads: int = 1) -> None:
        self._card = bundle.card
        self._where = bundle.folder / MODEL_FILE
        try:
            self._session = create_session(bundle.model, [CPU], intra_op_threads)
        except RUNTIME_ERRORS as error:
            raise cannot_load(self._where, error) from error
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
        """Of the model, with the digest that tells it from every other."""
        return f"{self._card.name}-{self._card.sha256[:16]}"

    @property
    def days(self) -> Sequence[int]:
        """Days up to dosing of which a plate needs images."""
        return self._card.days

    def check_fits(self, feature_names: Sequence[str], encoder_id: str) -> None:
        """Hold what wells are compared by to what the model was made for; ``encoder_id`` is that of the embedding among the features, "" without one.

        Raises
        ------
        ProfileError
            If they differ.
        """
        if self._card.encoder_id != encoder_id:
            made_for, compared_by = _of(self._card.encoder_id), _of(encoder_id)
            raise ProfileError(
                self._where,
                f"was made for {made_for}; wells are compared by {compared_by}, expected a model made for that",
            )
        expected = self._card.feature_names
        if tuple(feature_names) != expected:
            place = next(
                (
                    place
                    for place, pair in enumerate(zip(feature_names, expected, strict=False))
                    if pair[0] != pair[1]
                ),
                None,
            )
            first = (
                ""
                if place is None
                else f"; feature {place + 1} is {feature_names[place]}, expected {expected[place]}"
            )
            raise ProfileError(
                self._where,
                f"wells are compared by {len(feature_names)} features; {CARD_FILE} expects {len(expected)} of its own{first}",
            )

    def foresee(
        self, trajectories: Trajectories, before: Sequence[int], day: int
    ) -> npt.NDArray[np.float64]:
        """Return (N, D): the features of every well on ``day`` as foreseen from the days ``before``; as the port says."""
        self.check_fits(
            trajectories.feature_names,
            trajectories.encoder_id if trajectories.embedding_dimension else "",
        )
        if missing := [each for each in self._card.days if each not in before]:
            found = f"plate {trajectories.plate} has none of {_listed(missing)}; up to dosing it has {_listed(before)}"
            raise ProfileError(
                self._where, f"needs images of the days {_listed(self._card.days)}; {found}"
            )
        features = np.stack([trajectories.on(each) for each in before], axis=1)
        features = np.where(np.abs(features) < _LARGEST, features, np.nan)
        seen = np.asarray(np.isfinite(features).any(axis=(1, 2)))
        foreseen = np.full((len(trajectories.wells), features.shape[2]), np.nan)
        foreseen[seen] = self._run(features[seen], before, day)
        if (without := seen & ~np.isfinite(foreseen).all(axis=1)).any():
            wells = ", ".join(trajectories.wells[well] for well in np.flatnonzero(without))
            raise ProfileError(
                self._where,
                f"foresees no number for plate {trajectories.plate}, wells {wells}; expected numbers also where images are missing",
            )
        return foreseen

    def _run(
        self, features: npt.NDArray[np.float64], days: Sequence[int], day: int
    ) -> npt.NDArray[np.float64]:
        given = {
            "features": features.astype(np.float32),
            "days": np.array(days, np.float32),
            "readout_day": np.array(day, np.float32),
        }
        try:
            [readout] = self._session.run(["readout"], given)
        except RUNTIME_ERRORS as error:
            raise ProfileError(
                self._where,
                f"cannot compute {' × '.join(map(str, features.shape))} (wells × days × features): {error}",
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
    """Hold names, types and shapes to what every such model has; None stands for a size that is free."""

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


def _of(encoder_id: str) -> str:
    return f"the embedding of {encoder_id}" if encoder_id else "measures alone"


def _listed(days: Sequence[int]) -> str:
    return ", ".join(map(str, days)) or "none"
