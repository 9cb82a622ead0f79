"""Smaller encoder bundles: float16, or int8 by static quantisation.

The reduced network is calibrated on real preprocessed images and compared with the float32 network.
"""

import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from inference.bundle import (
    CANARY_UM_PER_PX,
    CARD_FILE,
    MODEL_FILE,
    Bundle,
    canary_planes,
    load_bundle,
)
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.encoding.preprocessing import preprocess
from inference.onnx_session import CPU_PROVIDER, create_session
from schemas.encoder_bundle import Canary
from schemas.errors import ConfigError
from training.data.batch_plan import BatchPlan, MeasureScale
from training.data.crops import Cropping
from training.encoder.config import EncoderDataSection
from training.encoder.export import CANARY_TOLERANCE, CANARY_VALUES, ParityError, replace_folder
from training.encoder.load_data import load_crops
from training.encoder.validation import sample_clean_images

Floats = npt.NDArray[np.float32]
MIN_IMAGES = 16
"""Smallest number of images: half for calibration, half for comparison."""
MAX_IMAGES = 256
_BATCH = 16


class Precision(StrEnum):
    """Number format inside a reduced network; input and output stay float32."""

    FLOAT16 = "float16"
    INT8 = "int8"


MIN_SIMILARITY = {Precision.FLOAT16: 0.999, Precision.INT8: 0.9}
"""Smallest allowed similarity of reduced and float32 embeddings."""


@dataclass(frozen=True)
class ReductionReport:
    """Differences and file sizes of a reduced and a float32 network.

    The comparison uses images that were not used for calibration.
    """

    similarity: float  # mean cosine of reduced and float32 embeddings, less the float32 mean
    largest_difference: float  # largest difference of one value of an embedding
    bytes_before: int
    bytes_after: int


class _CalibrationImages(CalibrationDataReader):  # type: ignore[misc] # onnxruntime is not typed
    """Batches of images for onnxruntime's calibration."""

    def __init__(self, name: str, pixels: Floats) -> None:
        self._parts: Iterator[dict[str, Floats]] = (
            {name: pixels[at : at + _BATCH]} for at in range(0, len(pixels), _BATCH)
        )

    def get_next(self) -> dict[str, Floats] | None:
        """Return the next batch by input name, or None at the end."""
        return next(self._parts, None)


def reduce_with_training_data(
    name_or_folder: str, precision: str, data: EncoderDataSection, out: Path
) -> ReductionReport:
    """Write a reduced encoder bundle, checked on images of ``[data]``; return the ReductionReport.

    The images are cropped and normalised as the bundle requires.

    Raises
    ------
    ConfigError
        If precision, bundle or data do not fit.
    ParityError
        As :func:`reduce_bundle`.
    """
    if precision not in tuple(Precision):
        raise ConfigError("--to", f"is {precision!r}; expected one of {', '.join(Precision)}")
    bundle = load_bundle(name_or_folder)
    steps, side_px = bundle.card.preprocessing, bundle.card.input_size
    plates = load_crops(data, Cropping(side_px, steps.field_um, steps.background, steps.planes))
    plan = BatchPlan(scale=MeasureScale.of(plates), side_px=side_px, mean=steps.mean, std=steps.std)
    pixels = sample_clean_images(plates, plan, MAX_IMAGES).numpy()
    return reduce_bundle(bundle, Precision(precision), pixels, out)


def reduce_bundle(
    bundle: Bundle, precision: Precision, pixels: Floats, out: Path
) -> ReductionReport:
    """Write an encoder bundle of reduced precision to ``out``, and return the ReductionReport.

    The new bundle is opened with the service's encoder before it replaces ``out``.

    Parameters
    ----------
    pixels
        Preprocessed images, (n, 3, side, side): every second one calibrates, the others compare.

    Raises
    ------
    ConfigError
        If there are too few images.
    ParityError
        If the embeddings of the two networks differ too much; ``out`` is then unchanged.
    """
    if len(pixels) < MIN_IMAGES:
        raise ConfigError(
            "data",
            f"has {len(pixels)} images; "
            f"expected at least {MIN_IMAGES} for calibration and comparison",
        )
    with (
        replace_folder(out) as aside,
        tempfile.TemporaryDirectory() as scratch,
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # hints of the conversion tools
        if precision is Precision.FLOAT16:
            onnx.save(
                convert_float_to_float16(onnx.load_from_string(bundle.model), keep_io_types=True),
                aside / MODEL_FILE,
            )
        else:
            _quantise(bundle, pixels[::2], Path(scratch), aside / MODEL_FILE)
        model = (aside / MODEL_FILE).read_bytes()
        reduction = _compare(bundle, model, pixels[1::2])
        if not reduction.similarity >= MIN_SIMILARITY[precision]:
            raise ParityError(
                f"{precision} and float32 embeddings have a similarity of "
                f"{reduction.similarity:.3f}; expected at least {MIN_SIMILARITY[precision]:g}"
            )
        _write_card_and_notices(bundle, precision, model, aside)
        OnnxEncoder(load_bundle(str(aside)), providers="cpu")
    return reduction


def _write_card_and_notices(
    bundle: Bundle, precision: Precision, model: bytes, folder: Path
) -> None:
    card = bundle.card
    reduced_card = card.model_copy(
        update={
            "name": f"{card.name}-{precision}",
            "sha256": hashlib.sha256(model).hexdigest(),
            "canary": _canary(bundle, model),
            "provenance": f"{precision} of {card.encoder_id}: {card.provenance}",
        }
    )
    (folder / CARD_FILE).write_text(reduced_card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for notice in sorted(bundle.folder.iterdir()):
        if notice.is_file() and notice.name not in {CARD_FILE, MODEL_FILE}:
            shutil.copyfile(notice, folder / notice.name)


def _quantise(bundle: Bundle, pixels: Floats, scratch: Path, path: Path) -> None:
    (scratch / "float32.onnx").write_bytes(bundle.model)
    quant_pre_process(scratch / "float32.onnx", scratch / "prepared.onnx", skip_symbolic_shape=True)
    first = next(
        (
            node.name
            for node in onnx.load(scratch / "prepared.onnx").graph.node
            if node.op_type == "Conv"
        ),
        None,
    )
    quantize_static(
        scratch / "prepared.onnx",
        path,
        _CalibrationImages(bundle.card.input_name, pixels),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        # The first convolution reads grey values of a wide range: similarity 0.93 with this
        # exception, 0.89 without it.
        nodes_to_exclude=[first] if first else [],
    )


def _run(model: bytes, bundle: Bundle, pixels: Floats) -> Floats:
    session = create_session(model, [CPU_PROVIDER], 1)
    return np.concatenate(
        [
            session.run(None, {bundle.card.input_name: pixels[at : at + _BATCH]})[0]
            for at in range(0, len(pixels), _BATCH)
        ]
    )


def _compare(bundle: Bundle, model: bytes, pixels: Floats) -> ReductionReport:
    expected, found = _run(bundle.model, bundle, pixels), _run(model, bundle, pixels)
    middle = expected.mean(axis=0)
    a, b = expected - middle, found - middle
    cosine = (a * b).sum(axis=1) / np.maximum(
        np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1), 1e-12
    )
    return ReductionReport(
        float(cosine.mean()), float(np.abs(found - expected).max()), len(bundle.model), len(model)
    )


def _canary(bundle: Bundle, model: bytes) -> Canary:
    """Return the canary of the reduced model.

    Machines round differently, but by less than the reduction changed the embedding.
    """
    card = bundle.card
    pixels = preprocess(
        canary_planes(card.canary.seed), 1, CANARY_UM_PER_PX, card.preprocessing, card.input_size
    )[np.newaxis]
    (full,), (reduced,) = _run(bundle.model, bundle, pixels), _run(model, bundle, pixels)
    tolerance = max(CANARY_TOLERANCE, float(np.abs(reduced - full).max()))
    return Canary(
        seed=card.canary.seed,
        expected=tuple(round(float(value), 6) for value in reduced[:CANARY_VALUES]),
        tolerance=tolerance,
    )
