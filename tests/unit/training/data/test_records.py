"""Tests of the records of well images: their words, their numbers and the facts they leave out."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from inference.tissue.ranked_measures import RANKED_MEASURES
from training.data.crops import Cropping, PlateCrops, PlateNote, WellCrop, write_crops
from training.data.records import (
    FINDINGS,
    OTHER_WORD,
    PADDING,
    ImageRecord,
    RecordContent,
    RecordEncoder,
    make_records,
    split_words,
)

pytestmark = pytest.mark.train

EVERYTHING = RecordContent(treatment=True, assay=True)
MEASURES = np.array(
    [
        [-2.2, 0.9, 0.4, -0.6, 9.0, 0, 0, 0, 0, 0, -9.0],
        [np.nan] * 11,
        [0.1] * 11,
    ],
    np.float32,
)


@pytest.fixture(scope="module")
def plate(tmp_path_factory: pytest.TempPathFactory) -> PlateCrops:
    """Return three images: treated with an assay, without any fact but its label, untreated."""
    pixels = np.zeros((3, 64, 64), np.uint8)
    facts = [(10, "screening", "gemcitabine:0.5 uM + SN-38:10 nM"), (0, "screening", "x:1 nM")]
    crops = [
        WellCrop(f"B0{number}", day, group, treatment, pixels, np.zeros(11, np.float32))
        for number, (day, group, treatment) in enumerate([*facts, (7, "untreated", "DMSO:0.1 %")])
    ]
    folder: Path = tmp_path_factory.mktemp("cache")
    found = write_crops(folder, PlateNote("P1", "made up"), Cropping(side_px=64), crops)
    assert found is not None
    return replace(found, viability_percent=np.array([43.0, np.nan, np.nan], np.float32))


def texts(plate: PlateCrops, content: RecordContent) -> list[str]:
    return [record.text for record in make_records([plate], MEASURES, content)]


def test_each_ranked_measure_has_a_name() -> None:
    assert len(FINDINGS) == len(RANKED_MEASURES)


def test_a_record_lists_the_known_facts_in_words(plate: PlateCrops) -> None:
    first, second, third = texts(plate, EVERYTHING)
    assert first == (
        "day 10. treated with gemcitabine:0.5 uM + SN-38:10 nM. viability 40 percent. "
        "size very low. roundness high. solidity medium. outline roughness low. "
        "darkness extremely high. contrast medium. fine grain medium. coarse grain medium. "
        "core darkness medium. edge darkness medium. debris extremely low"
    )
    assert second == "treated with x:1 nM"
    assert third.startswith("day 7. well untreated. size medium. ")


def test_a_record_has_no_label_and_no_assay_unless_they_are_allowed(plate: PlateCrops) -> None:
    words = {word for text in texts(plate, RecordContent()) for word in split_words(text)}
    assert "10" in words
    assert not words & {"gemcitabine", "sn-38", "untreated", "treated", "dmso", "viability"}
    numbers = RecordEncoder.of([], RecordContent()).numbers(
        make_records([plate], MEASURES, RecordContent())
    )
    changed = replace(
        plate, groups=("blank",) * 3, treatments=("",) * 3, viability_percent=np.ones(3, np.float32)
    )
    again = RecordEncoder.of([], RecordContent()).numbers(
        make_records([changed], MEASURES, RecordContent())
    )
    assert np.array_equal(numbers, again)
    only_treatment = texts(plate, RecordContent(treatment=True))[0]
    assert "gemcitabine" in only_treatment
    assert "viability" not in only_treatment


def test_an_unknown_fact_is_left_out_of_the_words_and_marked_in_the_numbers(
    plate: PlateCrops,
) -> None:
    content = RecordContent(assay=True)
    records = make_records([plate], MEASURES, content)
    assert records[1].text == ""
    encoder = RecordEncoder.of(records, content)
    facts = 2 + len(FINDINGS)
    known = encoder.numbers(records)[:, facts:]
    assert known.sum(axis=1).tolist() == [facts, 0, facts - 1]
    assert encoder.words(records)[1].tolist() == [PADDING] * encoder.words(records).shape[1]


def test_the_numbers_are_those_behind_the_words(plate: PlateCrops) -> None:
    records = make_records([plate], MEASURES, EVERYTHING)
    encoder = RecordEncoder.of(records, EVERYTHING)
    numbers = encoder.numbers(records)
    assert numbers.shape == (3, EVERYTHING.number_count)
    assert numbers[0, :13].tolist() == pytest.approx([1, 0.4, -2, 1, 0, -1, 3, 0, 0, 0, 0, 0, -3])
    of_treatment = np.flatnonzero(numbers[0, 26:])
    treated = "treated with gemcitabine:0.5 uM + SN-38:10 nM"
    assert {encoder.vocabulary[word - 2] for word in of_treatment} == set(split_words(treated))


def test_images_of_equal_facts_have_equal_numbers_and_words() -> None:
    records = [ImageRecord(7, levels=(0,) * 11), ImageRecord(7, levels=(0,) * 11), ImageRecord(8)]
    encoder = RecordEncoder.of(records, RecordContent())
    for table in (encoder.words(records), encoder.numbers(records)):
        assert np.array_equal(table[0], table[1])
        assert not np.array_equal(table[0], table[2])


def in_words(encoder: RecordEncoder, numbers: Sequence[int]) -> list[str]:
    names = {PADDING: "", OTHER_WORD: "?"} | dict(enumerate(encoder.vocabulary, start=2))
    return [names[number] for number in numbers]


def test_the_vocabulary_has_the_most_frequent_words_of_the_training_records() -> None:
    training = [ImageRecord(7, "well untreated"), ImageRecord(7), ImageRecord(9)]
    encoder = RecordEncoder.of(training, RecordContent(vocabulary=5))
    assert encoder.vocabulary == ("day", "7", "9")
    rows = encoder.words([ImageRecord(9, "well untreated"), ImageRecord(8)])
    assert in_words(encoder, rows[0].tolist()) == ["day", "9", "?", "?"]
    assert in_words(encoder, rows[1].tolist()) == ["day", "?", "", ""]


def test_doses_keep_their_decimal_point() -> None:
    assert split_words("treated with A-1:0.5 uM + b c:10 nM. day 10.") == [
        *("treated", "with", "a-1", "0.5", "um", "b", "c", "10", "nm", "day", "10")
    ]
