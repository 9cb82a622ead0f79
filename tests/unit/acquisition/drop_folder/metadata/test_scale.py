"""The scale that is read from the files of each microscope program, and scales that are refused."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from acquisition.drop_folder.image_decoding import ImageLimits, decode
from benchmarks.vendor_files import (
    gen5_xml,
    harmony,
    harmony_xml,
    metaseries,
    micromanager,
    ome_image,
    ome_xml,
    stk,
    tiff,
)

GREY: npt.NDArray[np.uint16] = (
    np.random.default_rng(7).integers(100, 4000, (80, 100)).astype(np.uint16)
)


def scale_of(content: bytes, name: str = "x.tif") -> tuple[float | None, str]:
    metadata = decode(content, name, ImageLimits()).metadata
    return metadata.um_per_px, metadata.scale_source


def ome(scale: str) -> bytes:
    return tiff(GREY, description=ome_xml(ome_image(scale=scale)))


def imagej(unit: str, per_unit: float, y_per_unit: float | None = None, **more: Any) -> bytes:  # noqa: ANN401
    resolution = (per_unit, per_unit if y_per_unit is None else y_per_unit)
    return tiff(GREY, imagej=True, resolution=resolution, metadata={"unit": unit} | more)


def mm(**values: object) -> bytes:
    return micromanager([GREY], [{"SliceIndex": 0} | values])


MAGNIFIED = '<CameraPixelSizeX Unit="m">6.5E-06</CameraPixelSizeX>'
STATED = "".join(f'<ImageResolution{axis} Unit="m">{{0}}</ImageResolution{axis}>' for axis in "XY")
SCALES = {
    "Harmony": (harmony(GREY, harmony_xml()), 6.5 * 2 / (20 * 1.087), "Harmony XML"),
    "Harmony, camera pixel in the XML": (
        harmony(GREY, harmony_xml(more=MAGNIFIED), camera_um=6.45),
        6.5 * 2 / (20 * 1.087),
        "Harmony XML",
    ),
    "Harmony, other elements": (
        harmony(
            GREY,
            '<Measurement><Camera><Binning>2x2</Binning><PixelSizeX Unit="um">6.5</PixelSizeX>'
            '</Camera><Objective Magnification="20"/>'
            '<InstrumentDescription Magnification="1.087"/></Measurement>',
        ),
        6.5 * 2 / (20 * 1.087),
        "Harmony XML",
    ),
    "Harmony, the scale in the XML": (
        harmony(GREY, harmony_xml(instrument=None, more=STATED.format("5.98E-07"))),
        0.598,
        "Harmony XML",
    ),
    "Harmony, computed and in the XML": (
        harmony(GREY, harmony_xml(more=STATED.format("5.98E-07"))),
        0.598,
        "Harmony XML",
    ),
    "Gen5": (tiff(GREY, description=gen5_xml()), 394 / 1224, "Gen5 XML"),
    "Gen5, stretched to the edge": (
        tiff(GREY, description=gen5_xml(width_px=100, height_px=80, width_um=200, height_um=160)),
        2.0,
        "Gen5 XML",
    ),
    "Gen5 in an OME-TIFF": (
        tiff(GREY, description=ome_xml(ome_image(scale="") + gen5_xml().split("?>")[1])),
        394 / 1224,
        "Gen5 XML",
    ),
    "MetaXpress": (metaseries(GREY), 1.36, "MetaSeries"),
    "MetaMorph stack": (stk([GREY] * 3), 0.65, "MetaMorph STK"),
    "Micro-Manager": (mm(PixelSizeUm=0.65), 0.65, "Micro-Manager"),
    "OME": (ome('PhysicalSizeX="0.65" PhysicalSizeY="0.65"'), 0.65, "OME-XML"),
    "OME in nm": (
        ome(
            'PhysicalSizeX="650" PhysicalSizeXUnit="nm" PhysicalSizeY="650" PhysicalSizeYUnit="nm"'
        ),
        0.65,
        "OME-XML",
    ),
    "OME in mm and µm": (
        ome('PhysicalSizeX="6.5e-4" PhysicalSizeXUnit="mm" PhysicalSizeY="0.65"'),
        0.65,
        "OME-XML",
    ),
    "OME, x only": (ome('PhysicalSizeX="0.65"'), 0.65, "OME-XML"),
    "ImageJ in µm": (imagej("um", 1 / 0.65), 0.65, "ImageJ"),
    "ImageJ with an escaped micro sign": (imagej("\\u00B5m", 1 / 0.65), 0.65, "ImageJ"),
    "ImageJ in micrometers": (imagej("micrometers", 1 / 0.65), 0.65, "ImageJ"),
    "ImageJ in microns": (imagej("Microns", 1 / 0.65), 0.65, "ImageJ"),
    "ImageJ in mm": (imagej("mm", 1000 / 0.65), 0.65, "ImageJ"),
    "ImageJ in inches": (imagej("inch", 25_400 / 0.65), 0.65, "ImageJ"),
    "resolution tags": (
        tiff(GREY, resolution=(10_000 / 0.65, 10_000 / 0.65), resolutionunit="CENTIMETER"),
        0.65,
        "TIFF resolution tags",
    ),
}


@pytest.mark.parametrize(("content", "um_per_px", "source"), SCALES.values(), ids=SCALES.keys())
def test_the_scale_is_read_with_the_name_of_its_source(
    content: bytes, um_per_px: float, source: str
) -> None:
    found, found_source = scale_of(content)
    assert found == pytest.approx(um_per_px, rel=1e-4)
    assert found_source == source


def test_the_published_scales_of_harmony_and_gen5_are_reproduced() -> None:
    assert scale_of(SCALES["Harmony"][0])[0] == pytest.approx(0.598, abs=5e-4)
    assert scale_of(SCALES["Gen5"][0])[0] == pytest.approx(0.322, abs=5e-4)


REFUSED_SCALES = {
    "OME at 72 dpi": ome('PhysicalSizeX="352.777" PhysicalSizeY="352.777"'),
    "OME with x and y": ome('PhysicalSizeX="0.65" PhysicalSizeY="1.3"'),
    "OME with x and y in other units": ome(
        'PhysicalSizeX="650" PhysicalSizeXUnit="nm" PhysicalSizeY="650" PhysicalSizeYUnit="µm"'
    ),
    "OME in pixels": ome('PhysicalSizeX="1" PhysicalSizeXUnit="pixel" PhysicalSizeY="1"'),
    "OME in megametres": ome('PhysicalSizeX="1" PhysicalSizeXUnit="Mm"'),
    "OME, nan": ome('PhysicalSizeX="nan" PhysicalSizeY="nan"'),
    "OME, infinite": ome('PhysicalSizeX="inf" PhysicalSizeY="1e999"'),
    "OME, zero": ome('PhysicalSizeX="0" PhysicalSizeY="0"'),
    "ImageJ at 300 dpi": imagej("inch", 300),
    "ImageJ with x and y": imagej("um", 1 / 0.65, 1 / 1.3),
    "ImageJ with units of x and y": imagej("um", 1 / 0.65, yunit="mm"),
    "ImageJ in pixels": imagej("pixel", 1),
    "ImageJ in an unknown unit": imagej("furlong", 1),
    "MetaXpress with x and y": metaseries(GREY, x=0.65, y=1.3),
    "MetaXpress without calibration": metaseries(GREY, state="off"),
    "MetaXpress in pixels": metaseries(GREY, x=1, y=1, unit="pixel"),
    "MetaMorph stack with x and y": stk([GREY] * 3, y_scale=1.3),
    "MetaMorph stack in pixels": stk([GREY] * 3, scale=1, unit="pixels"),
    "MetaMorph stack without calibration": stk([GREY] * 3, scale=None),
    "Gen5 with x and y": tiff(GREY, description=gen5_xml(height_um=582)),
    "Gen5, shrunk when it was saved": tiff(
        GREY, description=gen5_xml(width_px=200, height_px=160, width_um=200, height_um=160)
    ),
    "Gen5, damaged XML": tiff(GREY, description="<BTIImageMetaData><Image"),
    "Micro-Manager without calibration": mm(PixelSizeUm=0.0),
    "Micro-Manager with other pixels": mm(PixelSizeUm=0.65, PixelAspect=2),
    "Harmony without instrument": harmony(GREY, harmony_xml(instrument=None)),
    "Harmony with two objectives": harmony(
        GREY, harmony_xml(more="<ObjectiveMagnification>40</ObjectiveMagnification>")
    ),
    "Harmony with another binning in y": harmony(
        GREY, harmony_xml().replace("<BinningY>2", "<BinningY>1")
    ),
    "Harmony with another scale in the XML": harmony(
        GREY, harmony_xml(more=STATED.format("3.2E-07"))
    ),
    "Harmony with the camera pixel as its scale": harmony(
        GREY, harmony_xml(instrument=None, more=STATED.format("6.5E-06"))
    ),
    "Harmony, damaged XML": harmony(GREY, harmony_xml()[:200]),
    "one pixel per centimetre": tiff(GREY, resolution=(1, 1), resolutionunit="CENTIMETER"),
    "72 dpi": tiff(GREY, resolution=(72, 72), resolutionunit="INCH"),
    "x and y": tiff(GREY, resolution=(10_000, 5_000), resolutionunit="CENTIMETER"),
    "no unit": tiff(GREY, resolution=(1, 1), resolutionunit="NONE"),
    "no scale": tiff(GREY),
}


@pytest.mark.parametrize("content", REFUSED_SCALES.values(), ids=REFUSED_SCALES.keys())
def test_a_scale_that_cannot_be_used_is_none(content: bytes) -> None:
    assert scale_of(content) == (None, "")


def test_a_scale_that_is_refused_is_not_replaced_by_that_of_the_resolution_tags() -> None:
    content = tiff(
        GREY,
        description=ome_xml(ome_image(scale='PhysicalSizeX="0.65" PhysicalSizeY="1.3"')),
        resolution=(10_000, 10_000),
        resolutionunit="CENTIMETER",
    )
    assert scale_of(content) == (None, "")


TWO_FILES = "".join(
    ome_image(
        scale=f'PhysicalSizeX="{size}" PhysicalSizeY="{size}"',
        data=f'<TiffData IFD="0"><UUID FileName="{name}">urn:uuid:{name}</UUID></TiffData>',
    )
    for name, size in (("A01.ome.tif", 0.65), ("B02.ome.tif", 1.3))
)


@pytest.mark.parametrize(("name", "um_per_px"), [("A01.ome.tif", 0.65), ("B02.ome.tif", 1.3)])
def test_the_scale_is_that_of_the_ome_image_in_this_file(name: str, um_per_px: float) -> None:
    content = tiff(GREY, description=ome_xml(TWO_FILES))
    assert scale_of(content, f"plate/day01/{name}") == (um_per_px, "OME-XML")


def test_a_renamed_file_of_a_series_is_recognised_by_its_uuid() -> None:
    content = tiff(GREY, description=ome_xml(TWO_FILES, uuid="urn:uuid:B02.ome.tif"))
    assert scale_of(content, "renamed.tif") == (1.3, "OME-XML")


def test_a_file_of_a_series_that_is_not_recognised_has_no_scale_if_the_images_differ() -> None:
    assert scale_of(tiff(GREY, description=ome_xml(TWO_FILES)), "renamed.tif") == (None, "")
