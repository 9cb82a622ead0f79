from dataclasses import replace

import pytest

from inference.departure.assembly import AssembledPlate, assemble
from inference.ranking.image_notes import (
    BY_EMBEDDING,
    EMBEDDING_USED,
    LEFT_OUT,
    MEASURES_USED,
    image_notes,
    left_out_text,
    name_wells,
)
from schemas.plate_map import Group, WellEntry
from schemas.quality import Flag
from schemas.tissue import Unsure
from schemas.trajectory import Representation
from tests.samples import observation, plate_map, quality

MAP = plate_map()
MAP = MAP.model_copy(update={"entries": (*MAP.entries, WellEntry(well="A01", group=Group.BLANK))})


def plate(crowded: tuple[str, ...] = (), refused: tuple[str, ...] = ()) -> AssembledPlate:
    """Return a plate with images of all wells, some of them crowded or refused at the readout."""
    images = [observation(entry.well, day) for entry in MAP.entries for day in (7, 10)]
    flags = quality(flags=(Flag.CROWDED,))
    images = [
        replace(seen, quality=flags) if seen.key.well in crowded and seen.day == 10 else seen
        for seen in images
    ]
    return assemble(
        [
            replace(seen, measures={}, unsure=(Unsure.NO_BACKGROUND,))
            if seen.key.well in refused and seen.day == 10
            else seen
            for seen in images
        ],
        MAP,
        through_day=10,
    )


def test_a_usual_plate_has_no_notes() -> None:
    assert image_notes(plate(), "both") == ()


@pytest.mark.parametrize(
    ("representation", "used"),
    [("measures", MEASURES_USED), ("both", MEASURES_USED), ("embedding", EMBEDDING_USED)],
)
def test_a_note_on_crowded_wells_states_the_measures_that_were_used(
    representation: Representation, used: str
) -> None:
    [note] = image_notes(plate(crowded=("B02", "D05")), representation)
    assert "in the images of 2 wells (B02, D05)" in note
    assert used in note
    assert "the sum of all bodies" in note
    assert "largest body" in note


def test_a_crowded_or_refused_blank_well_makes_no_note() -> None:
    assert image_notes(plate(crowded=("A01",)), "measures") == ()
    assert image_notes(plate(refused=("A01",)), "measures") == ()


@pytest.mark.parametrize(
    ("representation", "consequence"),
    [("measures", LEFT_OUT), ("both", LEFT_OUT), ("embedding", BY_EMBEDDING)],
)
def test_a_note_on_refused_images_states_what_follows_for_their_wells(
    representation: Representation, consequence: str
) -> None:
    of = plate(refused=("D05",))
    [note] = image_notes(of, representation)
    assert "1 well (D05)" in note
    assert note.endswith(consequence)
    left_out = of.reasons_left_out(representation, 1.0)
    assert set(left_out) == ({"D05"} if consequence is LEFT_OUT else set())


def test_refused_and_unmeasured_images_are_counted_apart() -> None:
    of = plate(refused=("D05",))
    assert of.deciding_unmeasured == 0
    assert of.allowed_representation("both", 1.0) == ("both", ())
    assert of.unsure == {"D05": (Unsure.NO_BACKGROUND,)}
    assert not of.is_measured[of.trajectories("both", 1.0).wells.index("D05"), -1]


def test_many_wells_are_counted_and_the_first_are_named() -> None:
    assert name_wells(["B02"]) == "1 well (B02)"
    many = [f"B{column:02d}" for column in range(2, 10)]
    assert name_wells(many) == "8 wells (B02, B03, B04, B05, B06, B07, …)"


def test_reasons_end_a_sentence_with_their_number_and_the_first_one() -> None:
    assert left_out_text({}) == ""
    text = left_out_text({"B02": "a", "B03": "b"})
    assert text == "; 2 wells (B02, B03) left out, such as B02: a"
