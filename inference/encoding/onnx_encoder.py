"""Computes embeddings of well images with an encoder bundle, which is checked when it is opened."""

import contextlib
import io
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime
import structlog

from inference.bundle import CANARY_UM_PER_PX, MODEL_FILE, Bundle, canary_planes
from inference.encoding.preprocessing import fitting_crop, preprocess
from inference.onnx_session import (
    CPU_PROVIDER,
    RUNTIME_ERRORS,
    check_canary,
    check_tensor,
    create_session,
    load_error,
)
from schemas.encoder_bundle import BundleCard, Providers
from schemas.errors import BundleError, ImageError
from schemas.well_image import WellImage

log = structlog.get_logger(__name__)

_CUDA = "CUDAExecutionProvider"


class OnnxEncoder:
    """Encoder that runs a bundle's model; it implements :class:`inference.ports.Encoder`.

    When it is opened, the model's tensors and its embedding of the canary are compared with the
    card, and the execution provider is logged.

    Parameters
    ----------
    bundle
        From :func:`inference.bundle.load_bundle`.
    providers
        ``cpu``; ``cuda``; or ``auto``, which uses CUDA if it computes the canary correctly, else
        the CPU.
    intra_op_threads
        Threads of one embedding; 0 = one per physical core.

    Raises
    ------
    BundleError
        If the model does not fit its card, gives another embedding of the canary, or ``cuda`` is
        requested and not available.
    """

    def __init__(
        self, bundle: Bundle, providers: Providers = "auto", intra_op_threads: int = 2
    ) -> None:
        self._card = bundle.card  # the bytes of the model are not kept
        self._session, self._provider = _open_session(bundle, providers, intra_op_threads)
        log.info(
            "encoder.ready",
            provider=self.provider,
            dimension=self.dimension,
            encoder_id=self.encoder_id,
        )

    @property
    def provider(self) -> str:
        """Device of the encoder: ``cuda`` or ``cpu``."""
        return self._provider

    @property
    def card(self) -> BundleCard:
        """Card of the bundle."""
        return self._card

    @property
    def encoder_id(self) -> str:
        """Name and digest of the bundle; embeddings with different ids are never compared."""
        return self._card.encoder_id

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        return self._card.dimension

    def crop(self, image: WellImage) -> str | None:
        """Return the name of the part of a well image that is embedded; None for the whole field.

        Embeddings of parts with different names are never compared.
        """
        field_um = self._card.preprocessing.field_um
        return fitting_crop(image.planes.shape[1:], image.um_per_px, field_um).name

    def embed(self, image: WellImage, sharpest_plane: int) -> npt.NDArray[np.float32]:
        """Return the embedding, (dimension,), of a well image with a given sharpest plane.

        Raises
        ------
        ImageError
            If the image is too small, has the wrong number of planes for the bundle, or its
            embedding is not finite.
        """
        where = f"{image.key.plate} {image.key.well} {image.key.visit}"
        try:
            embedding = _embed(
                self._session, self._card, image.planes, sharpest_plane, image.um_per_px
            )
        except ValueError as error:
            raise ImageError(where, str(error)) from error
        except RUNTIME_ERRORS as error:
            raise ImageError(where, f"cannot be embedded: {error}") from error
        if not np.isfinite(embedding).all():
            raise ImageError(
                where, "the embedding has values that are not finite; expected finite values"
            )
        return embedding


def _open_session(bundle: Bundle, providers: Providers, intra_op_threads: int) -> tuple[Any, str]:
    """Return a checked onnxruntime session and its device, ``cuda`` or ``cpu``."""
    if providers != "cpu":
        try:
            return _open_cuda(bundle, intra_op_threads), "cuda"
        except _CudaUnavailableError as error:
            if providers == "cuda":
                raise BundleError(
                    bundle.folder,
                    f"encoder.providers is 'cuda', but {error}; "
                    "expected a working CUDA device, or 'auto'",
                ) from error
            if _CUDA in onnxruntime.get_available_providers():
                log.warning("encoder.cuda_unavailable", reason=str(error))
    session = _create_session(bundle, [CPU_PROVIDER], intra_op_threads)
    _check_canary(session, bundle)
    return session, "cpu"


class _CudaUnavailableError(Exception):
    """CUDA is not available; the message is the reason."""


def _open_cuda(bundle: Bundle, intra_op_threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return a checked session on CUDA; raise _CudaUnavailableError with the reason without one."""
    available = onnxruntime.get_available_providers()
    if _CUDA not in available:
        raise _CudaUnavailableError(f"onnxruntime offers {', '.join(available)}")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        onnxruntime.preload_dlls()  # prints the names of missing libraries
    # TF32 rounds products to ten bits; embeddings of CUDA and CPU machines would differ.
    session = _create_session(bundle, [(_CUDA, {"use_tf32": "0"}), CPU_PROVIDER], intra_op_threads)
    if session.get_providers()[0] != _CUDA:
        raise _CudaUnavailableError(
            " ".join(printed.getvalue().split()) or "onnxruntime could not start its CUDA provider"
        )
    try:
        _check_canary(session, bundle)
    except BundleError as error:
        raise _CudaUnavailableError(error.problem) from error
    return session


def _create_session(bundle: Bundle, providers: list[Any], intra_op_threads: int) -> Any:  # noqa: ANN401 - onnxruntime has no types
    """Return an onnxruntime session of a bundle whose tensors fit its card."""
    try:
        session = create_session(bundle.model, providers, intra_op_threads)
    except RUNTIME_ERRORS as error:
        if len(providers) > 1:
            raise _CudaUnavailableError(str(error)) from error
        raise load_error(bundle.folder / MODEL_FILE, error) from error
    card, model_file = bundle.card, bundle.folder / MODEL_FILE
    check_tensor(
        "input",
        session.get_inputs(),
        card.input_name,
        (3, card.input_size, card.input_size),
        model_file,
    )
    check_tensor("output", session.get_outputs(), card.output_name, (card.dimension,), model_file)
    return session


def _check_canary(session: Any, bundle: Bundle) -> None:  # noqa: ANN401 - onnxruntime has no types
    """Raise BundleError unless a session gives the canary's embedding that the card records."""
    canary = bundle.card.canary
    try:
        embedding = _embed(session, bundle.card, canary_planes(canary.seed), 1, CANARY_UM_PER_PX)
    except RUNTIME_ERRORS as error:
        raise BundleError(
            bundle.folder / MODEL_FILE, f"cannot compute the canary: {error}"
        ) from error
    if len(canary.expected) > len(embedding):
        raise BundleError(
            bundle.folder,
            f"canary has {len(canary.expected)} values; "
            f"expected at most dimension = {len(embedding)}",
        )
    check_canary(embedding, canary, bundle.folder)


def _embed(
    session: Any,  # noqa: ANN401 - onnxruntime has no types
    card: BundleCard,
    planes: npt.NDArray[np.uint16],
    sharpest_plane: int,
    um_per_px: float | None,
) -> npt.NDArray[np.float32]:
    """Return the embedding, (dimension,), of planes, (planes, H, W)."""
    pixels = preprocess(planes, sharpest_plane, um_per_px, card.preprocessing, card.input_size)
    (output,) = session.run([card.output_name], {card.input_name: pixels[np.newaxis]})
    return np.asarray(output[0], dtype=np.float32)
