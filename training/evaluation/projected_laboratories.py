"""Evaluate a projected embedding with its forecaster on simulated laboratories.

The projection and the forecaster are trained together (:mod:`training.forecaster.joint`), on the
untreated wells of laboratories with other renderers than the tested laboratory. The departure uses
that forecaster, and no settings are chosen. A calibration uses the projected embedding.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from inference.bundle import Bundle
from inference.departure.departure_settings import DepartureSettings
from inference.departure.sequence_model import ForecasterBundle, OnnxSequenceModel, load_forecaster
from simulation.kinds import RendererName
from simulation.laboratories.laboratory import Laboratory
from training.evaluation.laboratory_plates import LaboratoryPlate
from training.evaluation.laboratory_protocol import INNER_PLATES, Protocol, Reading, Result
from training.forecaster.config import (
    ForecasterDataSection,
    ForecasterRunSection,
    ForecasterTrainingConfig,
)
from training.forecaster.train import fit_joint_forecaster


def evaluate_projection(
    name: str,
    bundle: Bundle,
    laboratories: Sequence[Laboratory],
    plates: Sequence[Sequence[LaboratoryPlate]],
    assays: Sequence[int],
) -> list[Result]:
    """Return the Results of the projected embedding of an encoder on simulated laboratories.

    Parameters
    ----------
    name
        Name of the encoder's features in the plates; the reading is called ``<name> projected``.
    bundle
        The encoder.
    laboratories
        Simulated laboratories of two or more renderers.
    plates
        Observed plates of each laboratory; the first ones have assays, the others are tested.
    assays
        Numbers of assay plates to evaluate.
    """
    results = []
    for renderer in dict.fromkeys(each.renderer_name for each in laboratories):
        forecaster, projection = _train(name, bundle, _training_plates(plates, renderer))
        reading = Reading(forecaster.card.encoder_id, "embedding")
        projected = [
            [_project(plate, name, reading.encoder, projection) for plate in of_laboratory]
            for of_laboratory in plates
        ]
        settings = DepartureSettings(sequence_model=OnnxSequenceModel(forecaster))
        protocol = Protocol(laboratories, projected, assays, (settings,))
        results += [
            replace(result, reading=f"{name} projected")
            for fold in protocol.folds
            if fold.renderer is renderer
            for result in protocol.test(fold, reading)
        ]
    return results


def _training_plates(
    plates: Sequence[Sequence[LaboratoryPlate]], tested: RendererName
) -> list[LaboratoryPlate]:
    """Return the plates of other renderers than the tested one on which choices are made."""
    return [
        plate
        for of_laboratory in plates
        for plate in of_laboratory[:INNER_PLATES]
        if plate.laboratory.renderer_name is not tested
    ]


def _train(
    name: str, bundle: Bundle, plates: Sequence[LaboratoryPlate]
) -> tuple[ForecasterBundle, np.ndarray]:
    """Train on untreated wells; return the forecaster and the projection."""
    trajectories = [
        replace(
            plate.select(plate.untreated).trajectories("both", name),
            plate=f"{plate.laboratory.seed} {plate.name}",
            encoder_id=bundle.card.encoder_id,
        )
        for plate in plates
    ]
    with TemporaryDirectory() as folder:
        config = ForecasterTrainingConfig(
            data=ForecasterDataSection(representation="both", encoder=str(bundle.folder)),
            run=ForecasterRunSection(out=Path(folder) / "forecaster"),
        )
        trained = fit_joint_forecaster(trajectories, config, report=lambda _: None)
        return load_forecaster(trained.bundle), trained.projection


def _project(
    plate: LaboratoryPlate, name: str, encoder_id: str, projection: np.ndarray
) -> LaboratoryPlate:
    """Return the plate with the projected embedding as its only features, by its encoder's id."""
    return replace(plate, features={encoder_id: plate.features[name] @ projection.T})
