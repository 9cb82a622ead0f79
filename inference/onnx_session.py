"""Opens ONNX models for encoder and segmenter alike: quiet, without spinning threads, their shapes held to their card."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from schemas.errors import BundleError

CPU = "CPUExecutionProvider"
RUNTIME_ERRORS = (
    runtime_state.EPFail,
    runtime_state.EngineError,
    runtime_state.Fail,
    runtime_state.InvalidArgument,
    runtime_state.InvalidGraph,
    runtime_state.InvalidProtobuf,
    runtime_state.NotImplemented,
    runtime_state.RuntimeException,
    RuntimeError,  # what the binding raises where no class of its own fits
)
_ERRORS_ONLY = 3  # onnxruntime's severity: its warnings about graphs and missing devices are not for the operator


def create_session(model: bytes, providers: Sequence[Any], intra_op_threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return a session; raise one of :data:`RUNTIME_ERRORS` if onnxruntime cannot make it."""
    onnxruntime.set_default_logger_severity(_ERRORS_ONLY)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.intra_op_num_threads = intra_op_threads
    options.add_session_config_entry(
        "session.intra_op.allow_spinning", "0"
    )  # a thread that spins takes the core from whoever reads the next image
    return onnxruntime.InferenceSession(
        model, options, providers=list(providers), enable_fallback=0
    )


def cannot_load(model_file: Path, error: Exception) -> BundleError:
    """Return the error for a model that makes no session."""
    return BundleError(model_file, f"onnxruntime {onnxruntime.__version__} cannot load it: {error}")


def check_tensor(
    role: str, found: Sequence[Any], name: str, shape: Sequence[int], model_file: Path
) -> None:
    """Hold a model's only input or output, of a free batch or one of 1, to what its card says.

    Raises
    ------
    BundleError
        If there are several, or name, type or shape differ.
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
