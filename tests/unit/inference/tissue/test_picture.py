import cv2
import numpy as np

from inference.tissue.picture import SIDE_PX, draw_outline_picture
from schemas.tissue import Segmentation


def test_the_outline_is_on_the_border_of_the_body_at_any_image_size() -> None:
    for side in (128, 512, 1000):
        rows, columns = np.indices((side, side))
        body = np.hypot(rows - side / 2, columns - side / 2) < side / 4
        plane = np.where(body, 20_000, 40_000).astype(np.uint16)
        tissue = Segmentation(body, np.zeros_like(body), np.full((8, 8), 40_000, dtype=np.float32))
        picture = cv2.imdecode(
            np.frombuffer(draw_outline_picture(plane, tissue), np.uint8), cv2.IMREAD_COLOR
        ).astype(int)
        assert picture.shape == (SIDE_PX, SIDE_PX, 3)
        orange = picture[..., 2] - picture[..., 0] > 80
        distance = np.hypot(*(np.argwhere(orange).T - SIDE_PX / 2))
        assert len(distance) > 150
        assert abs(np.median(distance) - SIDE_PX / 4) < 2


def test_an_empty_well_has_a_picture_without_outline() -> None:
    nothing = np.zeros((200, 300), dtype=bool)
    tissue = Segmentation(nothing, nothing, np.full((8, 8), 0, dtype=np.float32))
    picture = cv2.imdecode(
        np.frombuffer(
            draw_outline_picture(np.zeros((200, 300), dtype=np.uint16), tissue), np.uint8
        ),
        cv2.IMREAD_COLOR,
    )
    assert picture.shape == (round(200 * SIDE_PX / 300), SIDE_PX, 3)
    assert picture.max() < 20
