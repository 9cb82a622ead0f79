"""Export of a torch forecaster as a bundle: ONNX file, card, notice and description."""

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch

from inference.departure.sequence_model import (
    CARD_FILE,
    MODEL_FILE,
    OnnxSequenceModel,
    load_forecaster,
)
from schemas.forecaster_bundle import ForecasterCard
from schemas.trajectory import Trajectories
from training.encoder.export import OPSET, ParityError, replace_folder
from training.forecaster.bodies import BODIES
from training.forecaster.config import ForecasterPretrainingSection, ForecasterTrainingConfig
from training.forecaster.model import TrajectoryForecaster, standardise

MAX_PARITY = 1e-3
"""Largest allowed difference between torch and onnxruntime, in spreads of a plate's wells; rounding
of a feature far from 0 gives about 1e-5."""

NOTICE = """\
forecaster.onnx: a network with weights learned by SpheroRank \
(training/forecaster/train.py) from the plates that forecaster.json names.
Its licence is that of SpheroRank, BSD-3-Clause, if the owners of the plates agree.
"""

MODEL_CARD = """\
# {name}: a forecaster of untreated wells

{body}, with {hidden} values for each well. Its input are the days up to dosing of all wells of a
plate, each feature in units of its spread over the wells. It predicts the features of each well on
a later day.

- Made by: `spherorank train forecaster`, seed {seed}, from the untreated wells of {plates} plates:
  {names}.
- Trained on {wells} untreated wells. {pretraining}
- Features: {features}.
- Validated on {validation_plates} other plates, over all days and later days: the forecaster
  explains {explained:.1%} of the variance between wells, the last image alone
  {explained_by_last:.1%}.
- Use: `ranking.forecaster` (docs/reference/forecasters.md). For research use only.
- Limits: it is trained on the tissue, days and microscope of its plates. The regression of the
  ranking estimates on each plate how accurate it is.
"""


@dataclass(frozen=True)
class ForecastQuality:
    """Share of the variance between wells on a later day that a forecaster explains.

    It is measured on validation plates.
    """

    explained: float
    explained_by_last: float  # by the last image alone, if no well changed its deviation
    plates: int

    def __str__(self) -> str:
        return (
            f"on {self.plates} validation plates the forecaster explains {self.explained:.1%} of "
            f"the variance between wells, the last image alone {self.explained_by_last:.1%}"
        )


def write_forecaster(
    model: TrajectoryForecaster,
    plates: Sequence[Trajectories],
    wells: int,
    quality: ForecastQuality,
    config: ForecasterTrainingConfig,
) -> float:
    """Write a forecaster's bundle to ``run.out`` and return its difference from torch in spreads.

    The new bundle is opened with the service's sequence model before it replaces the old one. The
    difference is the largest between torch and onnxruntime on the first three plates.

    Parameters
    ----------
    wells
        Number of untreated wells that trained the forecaster.

    Raises
    ------
    ParityError
        If the parity is larger than :data:`MAX_PARITY`; the old bundle is then unchanged.
    """
    first = plates[0]
    with replace_folder(config.run.out) as aside:
        export_forecaster(model, len(first.feature_names), aside / MODEL_FILE)
        card = ForecasterCard(
            name=config.model.name,
            sha256=hashlib.sha256((aside / MODEL_FILE).read_bytes()).hexdigest(),
            encoder_id=first.encoder_id,
            feature_names=first.feature_names,
            days=config.model.needs_days,
            created_by=f"spherorank train forecaster, body {config.model.body}, "
            f"pretraining {config.pretraining.objective}, seed {config.run.seed}, "
            f"{len(plates)} plates, {wells} wells",
        )
        (aside / CARD_FILE).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (aside / "NOTICE").write_text(NOTICE, encoding="utf-8")
        (aside / "MODEL_CARD.md").write_text(
            _fill_card(plates, wells, quality, config), encoding="utf-8"
        )
        opened = OnnxSequenceModel(load_forecaster(aside))
        parity = max(_parity(model, opened, plate) for plate in plates[:3])
        if not parity <= MAX_PARITY:
            raise ParityError(
                f"torch and onnxruntime differ by {parity:.2g} spreads; "
                f"expected at most {MAX_PARITY:g}"
            )
    return parity


def export_forecaster(model: TrajectoryForecaster, width: int, path: Path) -> None:
    """Write a forecaster of ``width`` features as an ONNX file for any wells and days."""
    example = torch.zeros(5, 3, width), torch.tensor([5.0, 6.0, 7.0]), torch.tensor(10.0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            example,
            path,
            dynamo=False,  # the newer exporter fixes the number of days of a series
            opset_version=OPSET,
            input_names=["features", "days", "readout_day"],
            output_names=["readout"],
            dynamic_axes={
                "features": {0: "wells", 1: "days"},
                "days": {0: "days"},
                "readout": {0: "wells"},
            },
        )
    onnx.checker.check_model(onnx.load(path))


def _parity(model: TrajectoryForecaster, opened: OnnxSequenceModel, plate: Trajectories) -> float:
    before, day = plate.days[:-1], plate.days[-1]
    past = torch.from_numpy(
        np.stack([plate.on(each) for each in before], axis=1).astype(np.float32)
    )
    known = torch.isfinite(past).any(dim=2).any(dim=1)
    with torch.inference_mode():
        expected = model(
            past[known], torch.tensor(before, dtype=torch.float32), torch.tensor(float(day))
        )
        spread = standardise(past[known])[2]
    found = opened.predict(plate, before, day)[known.numpy()]
    return float(np.abs((found - expected.double().numpy()) / spread.numpy()).max())


def _fill_card(
    plates: Sequence[Trajectories],
    wells: int,
    quality: ForecastQuality,
    config: ForecasterTrainingConfig,
) -> str:
    first, names = plates[0], [plate.plate for plate in plates]
    return MODEL_CARD.format(
        name=config.model.name,
        body=BODIES[config.model.body].title,
        hidden=config.model.hidden,
        wells=wells,
        pretraining=_describe(config.pretraining),
        seed=config.run.seed,
        plates=len(plates),
        names=", ".join(names[:20]) + (" …" if len(names) > 20 else ""),  # noqa: PLR2004 - enough names to identify the plates
        features=f"{len(first.feature_names)}, "
        + (f"with the embedding of {first.encoder_id}" if first.encoder_id else "measures"),
        validation_plates=quality.plates,
        explained=quality.explained,
        explained_by_last=quality.explained_by_last,
    )


def _describe(pretraining: ForecasterPretrainingSection) -> str:
    """Return a sentence of the model card about the pretraining."""
    if pretraining.objective == "none":
        return "The body was not pretrained."
    wells = "wells of all groups" if pretraining.treated else "untreated wells"
    later = "not changed" if pretraining.frozen else "trained further"
    return (
        f"Before, the body was pretrained with `{pretraining.objective}` on {wells} of the "
        f"training plates, without labels, and then {later}."
    )
