"""Opens ONNX models with onnxruntime and compares their tensors with their cards."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from schemas.errors import BundleError

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
