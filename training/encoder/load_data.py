"""Crops of all sources in the ``[data]`` section of a configuration; this module loads no torch."""

from dataclasses import replace

from schemas.errors import ConfigError
from training.data.archive import Archive, RecordLeftOut, ignore_left_out
from training.data.crops import Cropping, PlateCrops, ReadingNotes
from training.data.sources import (
    crops_from_archive,
    crops_from_store,
    crops_from_virtual_plates,
)
from training.data.virtual_plates import VirtualWells
from training.encoder.config import EncoderDataSection
from training.progress import show_progress


def load_crops(
    data: EncoderDataSection,
    cropping: Cropping | None = None,
    record: RecordLeftOut = ignore_left_out,
    *,
    assays: bool = False,
) -> list[PlateCrops]:
    """Return the PlateCrops of every plate of every source in the ``[data]`` section.

    Crops that are not in the cache are made first.

    Parameters
    ----------
    data
        The sources, and the cropping if none is given.
    cropping
        Used in place of the one in ``data``.
    record
        Called with each image that is not used.
    assays
        Whether the viability assays of the plates are read.

    Raises
    ------
    ConfigError
        If there is no source, or a source has no usable image.
    """
    if not data.archives and not data.virtual_plates:
        raise ConfigError(
            "data", "has no images; expected tables [[data.archives]], or virtual_plates"
        )
    cropping = cropping or Cropping(data.crop_px, data.field_um, data.background, data.planes)
    plates: list[PlateCrops] = []
    for section in data.archives:
        archive = Archive(
            section.folder,
            section.pattern,
            section.bits,
            section.field,
            section.um_per_px,
            section.channel,
            assays,
        )
        found = (
            crops_from_store(section.store, archive, data.cache, cropping=cropping, record=record)
            if section.store
            else crops_from_archive(archive, data.cache, cropping=cropping, record=record)
        )
        plates += [replace(plate, repeat=section.repeat) for plate in found]
    if data.virtual_plates:
        seeds = range(data.virtual_seed, data.virtual_seed + data.virtual_plates)
        with show_progress("virtual plates", len(seeds)) as advance:
            rendered = crops_from_virtual_plates(
                seeds,
                data.cache,
                cropping=cropping,
                wells=VirtualWells(data.virtual_wells),
                jobs=data.jobs,
                progress=lambda done, _total: advance(done),
            )
        plates += [replace(plate, notes=ReadingNotes()) for plate in rendered]
    return plates
