"""Names of output files: none replaces another file."""

from pathlib import Path

import pytest

from daemon.jobs.new_files import check_new, mask_files
from schemas.errors import OutputError

MASKS = Path("masks")


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (["a/B02.tif"], ["B02.png"]),
        (["a/B02.tif", "b/c/B03.tif"], ["B02.png", "B03.png"]),
        (["a/B02.tif", "a/B03.tif"], ["B02.png", "B03.png"]),
        (["a/B02.tif", "b/B02.tif"], ["a/B02.png", "b/B02.png"]),
        (["a/B02.tif", "a/b/B02.tif"], ["B02.png", "b/B02.png"]),
        (["a/B02.tif", "a/B02.png"], ["B02.tif.png", "B02.png.png"]),
        (["a/B02.tif", "a/b02.tif"], ["B02.tif.png", "b02.tif.png"]),
        (["a/B02.tif", "a/B02.tif"], ["B02.png", "B02.png"]),
        ([], []),
    ],
)
def test_every_image_has_a_mask_of_its_own(images: list[str], expected: list[str]) -> None:
    paths = [Path(image) for image in images]
    files = mask_files(paths, MASKS)
    assert [files[path] for path in paths] == [MASKS / name for name in expected]


def test_an_existing_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("kept")
    with pytest.raises(OutputError, match=r"m\.csv: exists; expected the name of a new file"):
        check_new([tmp_path / "new.csv", tmp_path / "m.csv"])
