from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from inference.deterioration.calibration import AssayPlate, refit
from schemas.plate_map import Group
from tests.assayed_plates import (
    DOSING_DAY,
    READOUT_DAY,
    KnownPlate,
    assayed,
    known_plate,
    learn,
    of_another_encoder,
    with_fewer_features,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def without_images(plate: AssayPlate) -> AssayPlate:
    return replace(
        plate,
        trajectories=replace(
            plate.trajectories, features=np.full_like(plate.trajectories.features, np.nan)
        ),
    )


def without_differences(plate: AssayPlate) -> AssayPlate:
    return replace(plate, deterioration_percent=dict.fromkeys(plate.deterioration_percent, 40.0))


def without_measured_wells(plate: AssayPlate) -> AssayPlate:
    return replace(plate, deterioration_percent={"H12": 0.0, "A01": 50.0})


def without_treated_wells(plate: AssayPlate) -> AssayPlate:
    groups = dict(zip(plate.trajectories.wells, plate.trajectories.groups, strict=True))
    return replace(
        plate,
        deterioration_percent={
            well: value
            for well, value in plate.deterioration_percent.items()
            if groups[well] is Group.UNTREATED
        },
    )


@pytest.mark.usefixtures("ridge_alone")
@pytest.mark.parametrize(
    ("corrupt", "message"),
    [
        (
            without_images,
            "K-2: no untreated well has an image of day 10 and one up to day 7; expected some",
        ),
        (without_differences, "K-2: 60 measured wells have images, and their values do not differ"),
        (
            without_measured_wells,
            "K-2: 0 measured wells have images, and their values do not differ",
        ),
        (without_treated_wells, "K-2: 20 measured wells have images, and none of them was treated"),
        (
            with_fewer_features,
            "K-2: has 4 features that differ from those of plate K-0; expected the same 5",
        ),
        (
            of_another_encoder,
            f"K-2: has features of the encoder '{'f' * 64}'; expected '' as plate K-0 has",
        ),
    ],
)
def test_an_unsuitable_plate_is_skipped_with_the_reason(
    corrupt: Callable[[AssayPlate], AssayPlate], message: str
) -> None:
    plates = assayed(5)
    plates[2] = corrupt(plates[2])
    card = learn(plates)
    assert card.valid
    assert card.plates == ("K-0", "K-1", "K-3", "K-4")
    assert card.why_not == (f"skipped: {message}",)
    others = [plate for plate in plates if plate is not plates[2]]
    fresh = known_plate(9).trajectories
    one, other = (
        refit(each, card, seed=1).predict(fresh, dosing_day=DOSING_DAY, readout_day=READOUT_DAY)
        for each in (plates, others)
    )
    assert (one.percent == other.percent).all()
    alone = learn(plates[2:3])
    assert not alone.valid or corrupt in (with_fewer_features, of_another_encoder)


@pytest.mark.usefixtures("ridge_alone")
def test_the_assay_of_another_plate_is_skipped_with_the_dead_untreated_wells() -> None:
    plates = assayed(3)
    turned = dict(
        zip(
            plates[1].deterioration_percent,
            reversed([*plates[1].deterioration_percent.values()]),
            strict=True,
        )
    )
    card = learn([plates[0], replace(plates[1], deterioration_percent=turned), plates[2]])
    assert card.plates == ("K-0", "K-2")
    (why,) = card.why_not
    assert why.startswith("skipped: K-1: the assay contradicts the plate map: ")
    assert "untreated wells have a viability below 50 % (B0" in why
    assert "expected the assay of this plate" in why


@pytest.mark.usefixtures("ridge_alone")
def test_two_plates_with_the_same_assay_are_both_skipped() -> None:
    plates = assayed(3)
    copied = replace(plates[1], deterioration_percent=plates[0].deterioration_percent)
    card = learn([plates[0], copied, plates[2]])
    assert card.plates == ("K-2",)
    assert card.why_not[0] == (
        "skipped: K-0: the assay has the same 60 values as that of plate K-1; expected the assay "
        "of this plate"
    )


def shuffled(known: KnownPlate) -> KnownPlate:
    """Return a plate whose groups are spread over the plate."""
    order = np.random.default_rng(0).permutation(len(known.trajectories.wells))
    wells = tuple(known.trajectories.wells[place] for place in order)
    return replace(known, trajectories=replace(known.trajectories, wells=wells))


def divided(seed: int) -> AssayPlate:
    """Return a plate with 30 untreated wells in one half, and one treatment in the other."""
    known = known_plate(seed, untreated=30, single_dose=30, treatments=0)
    columns = sorted(known.trajectories.wells, key=lambda well: (well[1:], well))
    return replace(known, trajectories=replace(known.trajectories, wells=tuple(columns))).assayed()


@pytest.mark.usefixtures("ridge_alone")
@pytest.mark.parametrize("count", [1, 3])
def test_half_divided_plates_name_their_treatment_and_the_confounded_side(
    count: int,
) -> None:
    card = learn([divided(seed) for seed in range(count)])
    assert card.valid, card.why_not
    assert card.single_treatment == "gemcitabine:1 uM"
    assert card.confounded == tuple(f"K-{seed}" for seed in range(count))
    assert card.treated_error_points is not None
    assert 0 < card.treated_error_points < 15
    mixed = learn([shuffled(known_plate(seed)).assayed() for seed in range(2)])
    assert (mixed.single_treatment, mixed.confounded) == (None, ())
