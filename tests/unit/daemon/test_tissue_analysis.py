import pytest

from acquisition.drop_folder.image_reading import read_image
from daemon.tissue_analysis import TissueMethod, analyse_tissue
from inference.tissue.classical_segmenter import ClassicalSegmenter
from schemas.quality import Flag
from tests.real_data import real_data


@pytest.mark.parametrize("folder", ["deep_organoid_384/images", "orgaquant_test"])
def test_real_wells_with_many_organoids_are_crowded_and_not_empty(folder: str) -> None:
    data_set, *inside = folder.split("/")
    paths = [
        path
        for path in sorted(real_data(data_set).joinpath(*inside).iterdir())
        if path.suffix in (".tif", ".jpg")
    ]
    method = TissueMethod(ClassicalSegmenter())
    found = [analyse_tissue(read_image(path).planes, None, method) for path in paths]
    measured = [each for each in found if not each.tissue.is_refused]
    assert len(measured) >= len(paths) - 1
    assert [Flag.CROWDED in each.quality.flags for each in measured] == [True] * len(measured)
    assert not any(Flag.EMPTY in each.quality.flags for each in found)


@pytest.mark.parametrize("folder", ["mls11_spheroids", "spheroid_morpho_ml"])
def test_real_wells_with_one_spheroid_are_not_crowded(folder: str) -> None:
    paths = sorted((real_data(folder) / "images").glob("*.tif*"))
    method = TissueMethod(ClassicalSegmenter())
    crowded = [
        path.stem
        for path in paths
        if Flag.CROWDED in analyse_tissue(read_image(path).planes, None, method).quality.flags
    ]
    assert crowded == []
