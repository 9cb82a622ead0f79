"""What is imaged again, by what an image or a ranking shows."""

import pytest

from acquisition.microscope.imaging_requests import ImagingRequest
from daemon.microscope.imaging_policies import ImageAgainIfUnclear, MoreOftenIfUncertain
from schemas.quality import Flag
from schemas.ranking import Ranking, TreatmentRank, Verdict
from tests.samples import NOW, PLATE, observation, quality, ranking


@pytest.mark.parametrize(
    ("flags", "wide", "recentre"),
    [
        ((Flag.BLURRED,), True, False),
        ((Flag.EMPTY,), True, False),
        ((Flag.CUT,), False, True),
        ((Flag.BLURRED, Flag.CUT), True, True),
    ],
)
def test_an_unclear_image_asks_for_another_one(
    flags: tuple[Flag, ...], *, wide: bool, recentre: bool
) -> None:
    (request,) = ImageAgainIfUnclear().after_image(
        observation("C05", 7, quality=quality(flags=flags)), NOW
    )
    assert request == ImagingRequest(
        plate=PLATE,
        day=7,
        wells=("C05",),
        reason="unclear",
        wide=wide,
        recentre=recentre,
        made_at=NOW,
    )


@pytest.mark.parametrize(
    "flags", [(), (Flag.SATURATED,), (Flag.DAY_DISAGREES, Flag.PLANES_MISSING)]
)
def test_an_image_that_another_one_would_not_mend_asks_for_none(flags: tuple[Flag, ...]) -> None:
    assert (
        ImageAgainIfUnclear().after_image(observation("C05", 7, quality=quality(flags=flags)), NOW)
        == ()
    )


def test_two_unclear_images_of_a_well_make_the_same_imaging_request() -> None:
    blurred, cut = (
        ImageAgainIfUnclear().after_image(
            observation("C05", 7, quality=quality(flags=(flag,))), NOW
        )[0]
        for flag in (Flag.BLURRED, Flag.CUT)
    )
    assert blurred.identity == cut.identity


def of_treatment(
    verdict: Verdict, score: float, wells: str, *, spread: float = 1.0
) -> TreatmentRank:
    changes = {
        "verdict": verdict,
        "score": score,
        "score_low": score - spread,
        "score_high": score + spread,
        "wells": tuple(wells.split()),
    }
    return ranking().treatments[0].model_copy(update=changes)


def provisional(*treatments: TreatmentRank, revision: int = 1) -> Ranking:
    return ranking(day=8, revision=revision, final=False, treatments=treatments)


STRONG = of_treatment(Verdict.EFFECTIVE, 9.0, "B02 B03")
WEAK = of_treatment(Verdict.EFFECTIVE, 3.0, "B04 B05")
DOUBTFUL = of_treatment(Verdict.NO_EVIDENCE, 2.5, "C02 C03")
MORE_DOUBTFUL = of_treatment(Verdict.NO_EVIDENCE, 2.0, "D02 D03", spread=3.0)
NOTHING = of_treatment(Verdict.NO_EVIDENCE, 0.1, "E02 E03")
TOO_FEW = of_treatment(Verdict.TOO_FEW_WELLS, 4.0, "F02")


def requested(policy: MoreOftenIfUncertain, of: Ranking) -> list[tuple[str, ...]]:
    return [request.wells for request in policy.after_ranking(of, NOW)]


def test_treatments_that_may_work_are_imaged_again_the_most_promising_first() -> None:
    of = provisional(STRONG, WEAK, TOO_FEW, DOUBTFUL, MORE_DOUBTFUL, NOTHING)
    assert requested(MoreOftenIfUncertain(9), of) == [("D02", "D03", "C02", "C03")]


def test_no_more_wells_are_imaged_again_than_asked_for() -> None:
    assert requested(
        MoreOftenIfUncertain(3), provisional(STRONG, WEAK, DOUBTFUL, MORE_DOUBTFUL)
    ) == [("D02", "D03", "C02")]
    assert (
        requested(MoreOftenIfUncertain(0), provisional(STRONG, WEAK, DOUBTFUL, MORE_DOUBTFUL)) == []
    )


def test_where_nothing_works_yet_every_treatment_may() -> None:
    assert requested(MoreOftenIfUncertain(9), provisional(DOUBTFUL, NOTHING)) == [
        ("C02", "C03", "E02", "E03")
    ]


def test_a_corrected_ranking_and_a_final_one_ask_for_nothing() -> None:
    """Images that were taken again correct a ranking: it must not go round in a circle."""
    assert requested(MoreOftenIfUncertain(9), provisional(WEAK, DOUBTFUL, revision=2)) == []
    assert requested(MoreOftenIfUncertain(9), ranking(treatments=(WEAK, DOUBTFUL))) == []
