"""Embeddings of different parts of images are never compared, on a real store.

The observations are simulated.
"""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from schemas.ranking import Gate
from schemas.trajectory import Representation
from store.embedding_ledger import SqlEmbeddingLedger
from tests.made_up_site import Site, small
from tests.samples import ENCODER_ID
from tests.service.test_calibrations import calibrated, imaged

NARROW = "757um"


def compare(site: Site, representation: Representation) -> None:
    site.settings = replace(site.settings, representation=representation)
    site.restart()


@pytest.fixture
def ledger(site: Site, tmp_path: Path) -> Iterator[SqlEmbeddingLedger]:
    """Yield the embedding ledger of the store of the site."""
    del site  # the store exists
    with closing(SqlEmbeddingLedger(f"sqlite:///{tmp_path}/store.sqlite")) as opened:
        yield opened


def embed_again(ledger: SqlEmbeddingLedger, plate: PlateMap) -> None:
    """Replace the embeddings of the whole field as ``spherorank embed --store --again`` does."""
    for image in ledger.not_embedded(plate.plate, ENCODER_ID, again=True):
        vector = np.random.default_rng(image.observation_id).standard_normal(6)
        ledger.add_embedding(image.observation_id, ENCODER_ID, vector.astype(np.float32), NARROW)


def half_narrow(site: Site, plate: PlateMap) -> PlateMap:
    """Store images of a plate; those of day 10 have a narrower field."""
    site.crop = None
    site.add(plate, days=(6, 7))
    site.crop = NARROW
    return site.add(plate, days=(10,))


def test_the_crop_is_part_of_the_encoder_id_of_a_ranking_that_compares_embeddings(
    site: Site,
) -> None:
    site.crop = NARROW
    [by_measures] = site.rank(site.add(small("first")))
    compare(site, "both")
    [by_both] = site.rank(site.add(small("second", 1)))
    assert (by_measures.encoder_id, by_both.encoder_id) == (ENCODER_ID, f"{ENCODER_ID}@{NARROW}")


def test_a_plate_with_two_fields_is_ranked_by_measures_until_its_images_are_embedded_again(
    site: Site, ledger: SqlEmbeddingLedger
) -> None:
    compare(site, "both")
    plate = half_narrow(site, small("own"))
    [ranking] = site.rank(plate)
    assert (ranking.representation, ranking.encoder_id) == ("measures", ENCODER_ID)
    assert "`spherorank embed --store --again`" in " ".join(ranking.notes)
    embed_again(ledger, plate)
    again = site.again(plate)
    assert again is not None
    assert (again.representation, again.encoder_id) == ("both", f"{ENCODER_ID}@{NARROW}")
    assert again.inputs_digest != ranking.inputs_digest


def test_where_embeddings_alone_are_compared_one_well_of_another_field_is_left_out(
    site: Site,
) -> None:
    compare(site, "embedding")
    plate = small("own")
    site.store.save_plate_map(plate, site.now)
    odd = plate.entries[-1].well
    for entry in plate.entries:
        for day in (7, 10):
            site.crop = NARROW if (entry.well, day) == (odd, 10) else None
            site.image(plate, entry.well, day)
    [ranking] = site.rank(plate)
    assert {each.well: each.reason for each in ranking.quality.left_out} == {
        odd: (
            f"embedded part of the image of day 10 is {NARROW}; "
            "expected the encoder's whole field as of most images"
        )
    }


def test_where_embeddings_alone_are_compared_a_plate_of_two_fields_raises_an_alert(
    site: Site,
) -> None:
    compare(site, "embedding")
    [ranking] = site.rank(half_narrow(site, small("own")))
    assert (ranking.quality.gate, ranking.treatments) == (Gate.NO_READOUT, ())
    [alert] = site.alerts(AlertKind.QUALITY_GATE)
    assert "in most wells, the encoder embedded different parts of the images" in alert
    assert "`spherorank embed --store --again`" in alert


def test_a_final_ranking_is_not_revised_because_its_images_were_embedded_again(
    site: Site, ledger: SqlEmbeddingLedger
) -> None:
    compare(site, "both")
    plate = site.add(small("own"))
    [ranking] = site.rank(plate)
    assert ranking.final
    embed_again(ledger, plate)
    site.restart()
    assert site.rank(plate) == []


@pytest.mark.parametrize("representation", ["measures", "both"])
def test_earlier_plates_of_another_field_are_used_where_measures_alone_are_compared(
    site: Site, representation: Representation
) -> None:
    compare(site, representation)
    site.add(small("wide"))
    site.crop = NARROW
    site.add(small("narrow", 1))
    [ranking] = site.rank(site.add(small("own", 2)))
    if representation == "measures":
        assert ranking.earlier_plates == ("narrow", "wide")
    else:
        assert ranking.earlier_plates == ("narrow",)
        assert any("1 earlier plates are not used" in note for note in ranking.notes)


def test_assay_plates_of_another_field_calibrate_no_embedding(
    site: Site, ledger: SqlEmbeddingLedger
) -> None:
    compare(site, "both")
    assayed = calibrated(site)
    site.crop = NARROW
    own = imaged(site, "own", 9)
    [ranking] = site.rank(own)
    assert ranking.method == "departure"
    notes = " ".join(ranking.notes)
    assert "the encoder embedded other parts of the images of its line's assay plates" in notes
    assert f"{len(assayed)} assay plates are not used" in notes
    for plate in assayed:
        embed_again(ledger, plate)
    site.restart()
    again = site.again(own)
    assert again is not None
    assert again.method == "deterioration"
