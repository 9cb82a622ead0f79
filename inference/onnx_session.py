"""Opens ONNX models with onnxruntime and compares their tensors with their cards."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from schemas.encoder_bundle import Canary
from schemas.errors import BundleError
from schemas.segmenter_bundle import SegmenterCard
from schemas.stain_bundle import StainCard

CPU_PROVIDER = "CPUExecutionProvider"
RUNTIME_ERRORS = (
    runtime_state.EPFail,
    runtime_state.EngineError,
    runtime_state.Fail,
    runtime_state.InvalidArgument,
    runtime_state.InvalidGraph,
    runtime_state.InvalidProtobuf,
    runtime_state.NotImplemented,
    runtime_state.RuntimeException,
    RuntimeError,  # raised by the binding in all other cases
)
"""Exceptions that onnxruntime raises when it opens or runs a model."""
CANARY_GRID = 8
"""Squares per side of a canary's map whose mean log odds are compared with the card."""

_ERRORS_ONLY = 3
"""Log severity of onnxruntime: its warnings about graphs and missing devices do not help users."""


def create_session(model: bytes, providers: Sequence[Any], intra_op_threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return an onnxruntime session of model bytes, with execution providers and a thread count.

    One of :data:`RUNTIME_ERRORS` is raised if onnxruntime cannot open the model.
    """
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = intra_op_threads
    # A plan of the memory of a run holds more memory, and saves no time with the default encoder.
    options.enable_mem_pattern = False
    # A spinning thread would use the core that reads the next image.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(
        model, options, providers=list(providers), enable_fallback=0
    )


def open_on_cpu(model: bytes, model_file: Path, intra_op_threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return an onnxruntime session on the CPU of the bytes of a model file.

    Raises
    ------
    BundleError
        If onnxruntime cannot open the model.
    """
    try:
        return create_session(model, [CPU_PROVIDER], intra_op_threads)
    except RUNTIME_ERRORS as error:
        raise load_error(model_file, error) from error


def open_map_network(
    model: bytes,
    card: SegmenterCard | StainCard,
    model_file: Path,
    channels: tuple[int, int],
    canary_input: npt.NDArray[np.float32],
    intra_op_threads: int,
) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return the onnxruntime session of a network that maps an image to log odds of its pixels.

    Parameters
    ----------
    model
        Content of the model file.
    card
        Card of the network.
    model_file
        File of the model, for messages.
    channels
        Number of channels of the input and of the output.
    canary_input
        Network input of the canary, (1, channels, side, side).
    intra_op_threads
        Threads of one run.

    Raises
    ------
    BundleError
        If the model does not fit its card or gives other values for the canary.
    """
    session = open_on_cpu(model, model_file, intra_op_threads)
    size = (card.input_size, card.input_size)
    for role, tensors, name, count in (
        ("input", session.get_inputs(), card.input_name, channels[0]),
        ("output", session.get_outputs(), card.output_name, channels[1]),
    ):
        check_tensor(role, tensors, name, (count, *size), model_file)
    (output,) = session.run([card.output_name], {card.input_name: canary_input})
    check_canary(canary_values(output), card.canary, model_file.parent)
    return session


def canary_values(log_odds: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return the 64 values for a card: means of a canary's first map, (1, channels, side, side)."""
    square = log_odds.shape[-1] // CANARY_GRID
    squares = log_odds[0, 0].reshape(CANARY_GRID, square, CANARY_GRID, square)
    return np.asarray(squares.mean(axis=(1, 3), dtype=np.float64).ravel())


def check_canary(values: Iterable[float], canary: Canary, folder: Path) -> None:
    """Raise BundleError, with the bundle's folder, unless the first values are those expected."""
    for index, (found, expected) in enumerate(zip(values, canary.expected, strict=False)):
        if not abs(found - expected) <= canary.tolerance:  # also true for NaN
            raise BundleError(
                folder,
                f"canary value {index} is {found:.6g}; "
                f"expected {expected:.6g} ± {canary.tolerance:g}",
            )


def load_error(model_file: Path, error: Exception) -> BundleError:
    """Return the BundleError for a model file, from the exception that onnxruntime raised."""
    return BundleError(model_file, f"onnxruntime {onnxruntime.__version__} cannot load it: {error}")


def check_tensor(
    role: str, found: Sequence[Any], name: str, shape: Sequence[int], model_file: Path
) -> None:
    """Raise BundleError unless ``found`` is one model input or output with this name and shape.

    Parameters
    ----------
    role
        ``input`` or ``output``, for the message.
    found
        Tensors of this role in the model.
    name, shape
        Name of the tensor, and its shape without the batch; the batch must be free or 1.
    model_file
        File of the model, for the message.

    Raises
    ------
    BundleError
        If there are several tensors, or name, type or shape differ.
    """
    described = ", ".join(f"{tensor.name} {tensor.shape} {tensor.type}" for tensor in found)
    fits = (
        len(found) == 1
        and found[0].name == name
        and found[0].type == "tensor(float)"
        and list(found[0].shape[1:]) == list(shape)
    )
    if not fits or not (found[0].shape[0] == 1 or not isinstance(found[0].shape[0], int)):
        raise BundleError(
            model_file,
            f"{role} is {described}; the card expects {name} {['batch', *shape]} tensor(float)",
        )
