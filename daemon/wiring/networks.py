"""Open the encoder, the segmenter and the stain predictor of a configuration."""

from pathlib import Path

from daemon.config import Config
from daemon.config_sections import EncoderSection, StainSection, TissueSection
from daemon.tissue_analysis import TissueMethod
from inference.bundle import load_bundle
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.ports import Segmenter
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.onnx_segmenter import OnnxSegmenter, load_segmenter, shipped_segmenter
from inference.tissue.onnx_stain import OnnxStain, load_stain


def open_encoder(config: Config) -> OnnxEncoder:
    """Open the encoder of a configuration, and check its canary embedding."""
    return open_encoder_of(config.encoder)


def open_encoder_of(section: EncoderSection) -> OnnxEncoder:
    """Open the encoder from its section of the configuration, and check its canary embedding."""
    return OnnxEncoder(
        load_bundle(section.bundle), providers=section.providers, intra_op_threads=section.threads
    )


def open_segmenter(section: TissueSection) -> Segmenter:
    """Open the segmenter of the `[tissue]` section; check the canary image of a learned one."""
    name = section.segmenter
    if name == "classical":
        return ClassicalSegmenter()
    return OnnxSegmenter(
        load_segmenter(shipped_segmenter() if name == "learned" else Path(name).expanduser())
    )


def open_stain(section: StainSection) -> OnnxStain | None:
    """Open the stain bundle of the `[stain]` section and check its canary; None without one."""
    return None if section.bundle is None else OnnxStain(load_stain(section.bundle))


def open_tissue(tissue: TissueSection, stain: StainSection) -> TissueMethod:
    """Open the method of new measures: the segmenter and the stain bundle of their sections."""
    return TissueMethod(open_segmenter(tissue), open_stain(stain))


def present_method(config: Config) -> str:
    """Return the name of the method of new measures of a configuration."""
    return open_tissue(config.tissue, config.stain).measured_by
