"""Trajectories of untreated wells of many plates, from a store, profile tables or simulation."""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from acquisition.quality import assess
from inference.bundle import Bundle, load_bundle
from inference.departure.assembly import assemble, feature_names, select_images
from inference.encoding.onnx_encoder import OnnxEncoder
from inference.profile_tables import read_profiles, trajectories_from_profiles
from inference.tissue.classical_segmenter import ClassicalSegmenter
from inference.tissue.measures import measure_tissue
from inference.tissue.ranked_measures import ranked_values
from schemas.errors import ConfigError
from schemas.plate_map import Group
from schemas.trajectory import Representation, Trajectories
from simulation.kinds import Layout
from simulation.microscope import VirtualMicroscope
from simulation.plate import plan_plate
from store.sql_store import SqlStore
from training.data.seeds import FIRST_TRAINING_SEED
from training.evaluation.virtual_images import virtual_image

FEWEST_WELLS = 4
"""Fewest untreated wells of a plate; among fewer, a well decides its own reference."""
SIZE_PX = 512


def read_profile_trajectories(tables: Iterable[Path]) -> list[Trajectories]:
    """Return the Trajectories of every plate of profile tables (paths), CSV or Parquet.

    Errors are those of :func:`inference.profile_tables.trajectories_from_profiles`.
    """
    return [
        plate
        for table in tables
        for plate in trajectories_from_profiles(read_profiles(table), where=str(table))
    ]


def read_store_trajectories(
    url: str, encoder: Bundle, representation: Representation
) -> list[Trajectories]:
    """Return the trajectories of every run of every plate of a store, over all its days.

    The images and features are those that a ranking compares. A plate is left out if the tissue of
    some images was not measured and the representation needs measures.
    """
    store = SqlStore(url)
    try:
        plates = []
        for plate_map in [each for name in store.plates() for each in store.run_maps(name)]:
            images = select_images(
                store.imaged(plate_map.plate, encoder.card.encoder_id), plate_map
            )
            if not images:
                continue
            observations = store.observations(images, encoder.card.encoder_id)
            last = max(image.day for image in images)
            plate = assemble(observations, plate_map, through_day=last).trajectories(
                representation, embedding_weight=1.0
            )
            if plate.representation == representation:
                plates.append(plate)
        return plates
    finally:
        store.close()


def make_virtual_trajectories(
    seeds: Sequence[int],
    days: Sequence[int],
    encoder: str,
    representation: Representation,
    cache: Path,
    *,
    jobs: int = 1,
    report: Callable[[str], None] = print,
) -> list[Trajectories]:
    """Return the Trajectories of one virtual plate for each seed, with 30 untreated wells each.

    A plate that is not in the cache folder is rendered, embedded and measured first.

    Parameters
    ----------
    encoder
        Folder or name of the bundle that embeds the images.
    jobs
        Number of processes that render plates.
    report
        Called with one line of text for each rendered plate.

    Raises
    ------
    ConfigError
        If a seed is reserved for tests and benchmarks.
    """
    if low := [seed for seed in seeds if seed < FIRST_TRAINING_SEED]:
        raise ConfigError(
            "data.virtual_seeds",
            f"has {low[0]}; expected {FIRST_TRAINING_SEED} or more, "
            "as plates of smaller seeds are reserved for tests and benchmarks",
        )
    bundle = load_bundle(encoder)
    files = {seed: cache / f"{_cache_digest(bundle, days)}-{seed}.npz" for seed in seeds}
    absent = [seed for seed, file in files.items() if not file.exists()]
    if absent:
        cache.mkdir(parents=True, exist_ok=True)
        image_plate = partial(_image_virtual_plate, days=tuple(days), encoder=encoder, files=files)
        with ProcessPoolExecutor(jobs) as pool:
            for number, seed in enumerate(pool.map(image_plate, absent), start=1):
                report(f"virtual plate {seed} is rendered: {number} of {len(absent)}")
    return [_load_virtual_plate(seed, file, representation, bundle) for seed, file in files.items()]


def untreated_only(plates: Iterable[Trajectories]) -> list[Trajectories]:
    """Return Trajectories of the untreated wells of each plate with enough of them and two days.

    Raises
    ------
    ConfigError
        If the plates differ in features or encoder, or fewer than two plates remain.
    """
    kept: list[Trajectories] = []
    for plate in plates:
        imaged = np.isfinite(plate.features).any(axis=2) & plate.untreated()[:, None]  # (N, T)
        if (imaged.sum(axis=1) > 1).sum() >= FEWEST_WELLS:
            kept.append(select_wells(plate, np.flatnonzero(imaged.any(axis=1)).tolist()))
    if len(kept) < 2:  # noqa: PLR2004 - one for training, one for validation
        raise ConfigError(
            "data",
            f"{len(kept)} plates have {FEWEST_WELLS} untreated wells or more on two days; "
            "expected two plates or more",
        )
    first = kept[0]
    for plate in kept[1:]:
        if (plate.feature_names, plate.encoder_id) != (first.feature_names, first.encoder_id):
            found, expected = (
                f"{len(each.feature_names)} features of {each.encoder_id or 'measures'}"
                for each in (plate, first)
            )
            raise ConfigError(
                "data",
                f"plate {plate.plate} has {found}; "
                f"expected {expected}, as plate {first.plate} has, in the same order",
            )
    return kept


def wells_with_two_days(plates: Iterable[Trajectories]) -> list[Trajectories]:
    """Return Trajectories of the wells of each plate, of any group, with images on two days.

    Plates with fewer than :data:`FEWEST_WELLS` such wells are left out.
    """
    kept = []
    for plate in plates:
        days = np.isfinite(plate.features).any(axis=2).sum(axis=1)  # (N,)
        wells = np.flatnonzero(days > 1).tolist()
        if len(wells) >= FEWEST_WELLS:
            kept.append(select_wells(plate, wells))
    return kept


def select_wells(plate: Trajectories, wells: list[int]) -> Trajectories:
    """Return the Trajectories of some wells, given as their places among the wells of a plate."""

    def chosen(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(values[well] for well in wells)

    groups = tuple(plate.groups[well] for well in wells)
    return replace(
        plate,
        wells=chosen(plate.wells),
        treatments=chosen(plate.treatments),
        groups=groups,
        features=plate.features[wells],
    )


def _cache_digest(bundle: Bundle, days: Sequence[int]) -> str:
    return hashlib.sha256(f"{bundle.card.encoder_id} {SIZE_PX} {tuple(days)}".encode()).hexdigest()[
        :12
    ]


def _image_virtual_plate(
    seed: int, days: tuple[int, ...], encoder: str, files: dict[int, Path]
) -> int:
    """Render, embed and measure the untreated wells of a virtual plate, and write its file."""
    scope = VirtualMicroscope(plan_plate(seed, layout=Layout.HALF), SIZE_PX)
    wells = [plan for plan in scope.plate.wells if plan.group is Group.UNTREATED]
    embedder = OnnxEncoder(load_bundle(encoder), providers="cpu", intra_op_threads=1)
    segmenter = ClassicalSegmenter()
    embedding, measures = np.empty((len(wells), len(days), embedder.dimension), np.float32), []
    for row, plan in enumerate(wells):
        for column, day in enumerate(days):
            image = virtual_image(scope, plan, day)
            quality = assess(image.planes)
            sharpest = image.planes[quality.sharpest_plane]
            embedding[row, column] = embedder.embed(image, quality.sharpest_plane)
            measures.append(
                ranked_values(
                    measure_tissue(
                        sharpest, segmenter.segment(sharpest, scope.um_per_px), scope.um_per_px
                    )
                )
            )
    aside = files[seed].with_suffix(".part.npz")
    np.savez_compressed(
        aside,
        wells=[plan.well for plan in wells],
        days=days,
        embedding=embedding,
        measures=np.reshape(measures, (len(wells), len(days), -1)),
    )
    aside.rename(files[seed])
    return seed


def _load_virtual_plate(
    seed: int, file: Path, representation: Representation, bundle: Bundle
) -> Trajectories:
    with np.load(file) as kept:
        wells, days = tuple(kept["wells"].tolist()), tuple(kept["days"].tolist())
        blocks = {
            "embedding": ["embedding"],
            "measures": ["measures"],
            "both": ["embedding", "measures"],
        }[representation]
        features = np.concatenate([kept[block].astype(np.float64) for block in blocks], axis=2)
    dimension = 0 if representation == "measures" else bundle.card.dimension
    return Trajectories(
        plate=f"virtual-{seed}",
        wells=wells,
        groups=(Group.UNTREATED,) * len(wells),
        treatments=("",) * len(wells),
        days=days,
        features=features,
        feature_names=feature_names(representation, bundle.card.dimension),
        embedding_dimension=dimension,
        encoder_id=bundle.card.encoder_id if dimension else "",
    )
