"""Simulated trajectories of a plate whose true kill is known."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from schemas.plate_map import Group
from schemas.trajectory import Trajectories
from schemas.well import INNER_60

DOSING_DAY, READOUT_DAY = 7, 10


def plate(
    kills: Sequence[float] = (0.0, 0.5, 1.0),
    *,
    untreated: int = 18,
    replicates: int = 3,
    features: int = 40,
    seed: int = 0,
    single_dose: int = 0,
    encoder_id: str = "e",
) -> Trajectories:
    """Return the trajectories of a simulated plate with features on the dosing and readout days.

    The wells differ in six hidden traits that persist from one day to the other. A kill moves the
    traits of a well along one fixed direction, by up to six standard deviations. The features are a
    linear map of the traits, with noise.

    Parameters
    ----------
    kills
        True kill of each treatment, from 0 to 1.
    untreated, single_dose
        Numbers of wells of these groups.
    replicates
        Number of wells of each treatment.
    features
        Number of features of a well image.
    seed
        Seed of the random numbers.
    encoder_id
        Name of the encoder of the features; an empty string makes the features measures.
    """
    rng = np.random.default_rng(seed)
    kill = np.concatenate(
        [np.zeros(untreated), np.full(single_dose, 0.9), np.repeat(kills, replicates)]
    )
    traits = rng.normal(size=(len(kill), 6))
    to_features = rng.normal(size=(6, features))
    direction = rng.normal(size=6) / np.sqrt(6)
    before = traits @ to_features
    after = (
        0.8 * traits + 0.6 * rng.normal(size=traits.shape) + 6 * kill[:, None] * direction
    ) @ to_features + 3.0
    stacked = np.stack([before, after], axis=1) + 0.3 * rng.normal(size=(len(kill), 2, features))
    names = [f"drug{number}:1 uM" for number in range(len(kills))]
    return Trajectories(
        plate="P1",
        wells=INNER_60[: len(kill)],
        groups=(Group.UNTREATED,) * untreated
        + (Group.SINGLE_DOSE,) * single_dose
        + (Group.SCREENING,) * (len(kills) * replicates),
        treatments=("",) * untreated
        + ("gemcitabine:1 uM",) * single_dose
        + tuple(np.repeat(names, replicates).tolist()),
        days=(DOSING_DAY, READOUT_DAY),
        features=stacked,
        feature_names=tuple(f"feature_{number}" for number in range(features)),
        embedding_dimension=features if encoder_id else 0,
        encoder_id=encoder_id,
    )


def joined(embedding: Trajectories, measures: Trajectories) -> Trajectories:
    """Return the wells of a plate of measures with the embedding of another plate."""
    return replace(
        measures,
        features=np.concatenate([embedding.features, measures.features], axis=2),
        feature_names=(
            *(f"embedding_{number}" for number in range(embedding.features.shape[2])),
            *measures.feature_names,
        ),
        embedding_dimension=embedding.features.shape[2],
        encoder_id=embedding.encoder_id,
    )


def with_hidden(kills: Sequence[float], hidden: Sequence[bool], *, seed: int = 0) -> Trajectories:
    """Return a plate with an embedding, whose hidden treatments do not change the measures.

    Parameters
    ----------
    kills
        True kill of each treatment.
    hidden
        Whether the treatment changes the embedding alone.
    seed
        Seed of the random numbers.
    """
    seen = [0.0 if is_hidden else kill for kill, is_hidden in zip(kills, hidden, strict=True)]
    return joined(
        plate(kills, features=60, seed=seed),
        plate(seen, features=11, seed=10_000 + seed, encoder_id=""),
    )
