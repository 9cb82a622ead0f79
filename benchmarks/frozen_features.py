"""Features of several depths of a frozen network, from a crop around the tissue.

The crop is a square of fixed size in µm, centred on the tissue. A network reads it twice: as the
sharpest plane, and as the difference of the last and the first plane. For each spatial size of its
feature maps, the last activation of that size is used: the mean and standard deviation of each
channel over the tissue. Outputs that are vectors are used whole.
"""

import hashlib
from collections.abc import Callable, Mapping
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt
import onnx

from inference.bundle import Bundle
from inference.onnx_session import CPU_PROVIDER, create_session
from inference.tissue.onnx_segmenter import SegmenterBundle, background_level, optical_density
from schemas.tissue import Segmentation
from schemas.well_image import WellImage

FEATURES_VERSION = 1
"""Raise it whenever a feature of any image changes with the same network."""
CROP_UM = 500.0
"""Side of the crop."""
MAX_SIDE_SHARE = 0.25
"""Largest side of a feature map, as a share of the input's side."""
PLANE, DIFFERENCE = "plane", "difference"
_ACTIVATIONS = ("Clip", "Relu")
_MIN_WEIGHT = 1e-3  # mean share of tissue below which a map is averaged over the whole crop

Floats = npt.NDArray[np.float32]


class FrozenNetwork:
    """Network whose feature maps at several depths describe a well image.

    Parameters
    ----------
    name
        Name in the names of the features: ``<name>/<depth>/plane`` and ``…/difference``. A depth is
        the side of the feature map in pixels, or ``output``.
    model
        ONNX model with one input (batch, channels, side, side).
    to_input
        Function from a crop, whose empty medium is 1, or from a difference of crops to the
        network's scale of values; the second argument is True for a difference.
    """

    def __init__(self, name: str, model: bytes, to_input: Callable[[Floats, bool], Floats]) -> None:
        self._name = name
        self._digest = hashlib.sha256(model).hexdigest()
        self._to_input = to_input
        graph_model = onnx.load_from_string(model)
        (network_input,) = graph_model.graph.input
        _, self._channels, self._side_px, _ = (
            dimension.dim_value for dimension in network_input.type.tensor_type.shape.dim
        )
        self._outputs = choose_depths(graph_model, self._side_px)
        known = {output.name for output in graph_model.graph.output}
        graph_model.graph.output.extend(
            onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None)
            for output in self._outputs.values()
            if output not in known
        )
        self._input_name = network_input.name
        self._session = create_session(graph_model.SerializeToString(), [CPU_PROVIDER], 1)

    @property
    def digest(self) -> str:
        """Name of the network, digest of its weights, and version of the features."""
        return f"{self._name} {self._digest} {FEATURES_VERSION}"

    def extract(
        self, image: WellImage, sharpest_plane: int, segmentation: Segmentation
    ) -> Mapping[str, Floats]:
        """Return the features of an image by name, for each depth and kind of input."""
        inputs, weights = self._inputs(image, sharpest_plane, segmentation)
        maps = self._session.run(list(self._outputs.values()), {self._input_name: inputs})
        return {
            f"{self._name}/{depth}/{kind}": pool(values[number], weights)
            for depth, values in zip(self._outputs, maps, strict=True)
            for number, kind in enumerate((PLANE, DIFFERENCE))
        }

    def _inputs(
        self, image: WellImage, sharpest_plane: int, segmentation: Segmentation
    ) -> tuple[Floats, Floats]:
        """Return inputs, (2, channels, side, side), and the tissue in the crop, (side, side)."""
        um_per_px = image.um_per_px
        assert um_per_px is not None  # noqa: S101 - images of virtual microscopes have a scale
        level = np.float32(background_level(image.planes[sharpest_plane]))

        def crop(plane: npt.NDArray[np.generic]) -> Floats:
            return crop_around(plane, segmentation, CROP_UM / um_per_px, self._side_px)

        first, last = (crop(image.planes[place]) / level for place in (0, -1))
        pictures = (
            self._to_input(crop(image.planes[sharpest_plane]) / level, False),
            self._to_input(last - first, True),
        )
        inputs = np.repeat(np.stack(pictures)[:, None], self._channels, axis=1)
        return inputs.astype(np.float32), crop(segmentation.body.astype(np.uint8))


def choose_depths(model: onnx.ModelProto, side_px: int) -> dict[str, str]:
    """Return the outputs of nodes to use, by depth, of a model with an input of ``side_px`` pixels.

    The side of the maps decreases through a network. For each side the last activation before the
    next smaller side is used, up to the end of the first decrease: the decoder of a U-Net and a
    second branch are not used. A vector that the model returns is also used.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    maps = [
        (output, shapes[output][-1])
        for node in inferred.node
        for output in node.output
        if node.op_type in _ACTIVATIONS and len(shapes.get(output, ())) == 4  # noqa: PLR2004 - (batch, channels, rows, columns)
    ]
    chosen: dict[str, str] = {}
    for (output, side), (_, following) in pairwise([*maps, ("", side_px)]):
        if side <= MAX_SIDE_SHARE * side_px:
            chosen[str(side)] = output
        if following > side:
            break
    for result in inferred.output:
        if len(shapes[result.name]) == 2:  # noqa: PLR2004 - (batch, values)
            chosen["output"] = result.name
    return chosen


def crop_around(
    plane: npt.NDArray[np.generic], segmentation: Segmentation, extent_px: float, side_px: int
) -> Floats:
    """Return a square of a plane, (side_px, side_px), centred on the tissue or else on the plane.

    The square is ``extent_px`` wide in the plane. Pixels beyond the border are mirrored.
    """
    rows, columns = np.nonzero(segmentation.body)
    height, width = plane.shape
    centre = (rows.mean(), columns.mean()) if len(rows) else (height / 2, width / 2)
    side = max(round(extent_px), 2)
    top, left = (round(float(middle) - side / 2) for middle in centre)
    before = max(0, -top), max(0, -left)
    after = max(0, top + side - height), max(0, left + side - width)
    padded = np.pad(plane.astype(np.float32), tuple(zip(before, after, strict=True)), "symmetric")
    top, left = top + before[0], left + before[1]
    return np.asarray(
        cv2.resize(
            padded[top : top + side, left : left + side],
            (side_px, side_px),
            interpolation=cv2.INTER_AREA if side >= side_px else cv2.INTER_LINEAR,
        ),
        np.float32,
    )


def pool(values: Floats, tissue: Floats) -> Floats:
    """Return the mean and standard deviation over the tissue of each channel of maps (C, h, w).

    A vector is returned as it is. ``tissue`` is its share of each pixel of the crop, (side, side).
    """
    if values.ndim == 1:
        return values
    rows = values.reshape(len(values), -1)
    weights = cv2.resize(tissue, values.shape[:0:-1], interpolation=cv2.INTER_AREA).reshape(-1)
    if weights.mean() < _MIN_WEIGHT:
        weights = np.ones_like(weights)
    weights = weights / weights.sum()
    mean = rows @ weights
    deviation = np.sqrt(np.maximum((rows**2) @ weights - mean**2, 0.0))
    return np.concatenate([mean, deviation])


def frozen_encoder(name: str, bundle: Bundle) -> FrozenNetwork:
    """Return the network of an encoder bundle, with the scale of values of its preprocessing."""
    preprocessing = bundle.card.preprocessing
    mean, deviation = np.float32(preprocessing.mean[0]), np.float32(preprocessing.std[0])
    background = np.float32(preprocessing.background)

    def to_input(crop: Floats, is_difference: bool) -> Floats:  # noqa: FBT001 - one kind of call
        grey = background * (crop + np.float32(is_difference))
        return np.asarray((np.clip(grey, 0, 1) - mean) / deviation, np.float32)

    return FrozenNetwork(name, bundle.model, to_input)


def frozen_segmenter(name: str, bundle: SegmenterBundle) -> FrozenNetwork:
    """Return the network of a segmenter bundle, which reads optical density."""

    def to_input(crop: Floats, is_difference: bool) -> Floats:  # noqa: FBT001 - one kind of call
        return optical_density(crop + np.float32(is_difference), 1.0)

    return FrozenNetwork(name, bundle.model, to_input)
