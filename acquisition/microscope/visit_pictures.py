"""The images of one visit that are compared with other visits: its single fields."""

from collections.abc import Sequence

from acquisition.microscope.ome_tiff import WellFrames
from acquisition.microscope.pictures import WellPictures, make_picture
from acquisition.microscope.sample_view import shows_tissue


def fields_of(images: Sequence[WellFrames]) -> list[WellFrames]:
    """Return the single fields of a visit in the order in which they were taken.

    A mosaic of several fields is left out: it cannot be compared with a field.

    Parameters
    ----------
    images
        The bright-field images of the visit.
    """
    fields = [image for image in images if image.field] or images
    return sorted(fields, key=lambda image: image.taken_at)


def make_pictures(images: Sequence[WellFrames]) -> WellPictures:
    """Return the pictures of a visit, one for each field with tissue.

    Without tissue in any field, all fields count.
    """
    fields = fields_of(images)
    with_tissue = [field for field in fields if shows_tissue(field.frames)] or fields
    return tuple(make_picture([frame.pixels for frame in field.frames]) for field in with_tissue)
