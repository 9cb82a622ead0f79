"""The imaging requests that the policies make from images and rankings."""

import pytest

from acquisition.microscope.imaging_requests import ImagingRequest
from daemon.microscope.imaging_policies import ReimageUnclearWells, ReimageUndecidedTreatments
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
def test_an_unclear_image_causes_a_request_for_a_second_one(
    flags: tuple[Flag, ...], *, wide: bool, recentre: bool
) -> None:
    (request,) = ReimageUnclearWells().after_image(
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
    "flags", [(), (Flag.SATURATED,), (Flag.CROWDED,), (Flag.DAY_DISAGREES, Flag.PLANES_MISSING)]
)
def test_a_flag_that_a_second_image_would_not_remove_causes_no_request(
    flags: tuple[Flag, ...],
) -> None:
    assert (
        ReimageUnclearWells().after_image(observation("C05", 7, quality=quality(flags=flags)), NOW)
        == ()
    )


def test_two_unclear_images_of_a_well_make_the_same_imaging_request() -> None:
    blurred, cut = (
        ReimageUnclearWells().after_image(
            observation("C05", 7, quality=quality(flags=(flag,))), NOW
        )[0]
        for flag in (Flag.BLURRED, Flag.CUT)
    )
    assert blurred.identity == cut.identity


def treatment_rank(
    verdict: Verdict, score: float, wells: str, *, spread: float = 1.0
) -> TreatmentRank:
    """Return a treatment with a verdict, a score, an interval of ± spread, and wells."""
    changes = {
        "verdict": verdict,
        "score": score,
        "score_low": score - spread,
        "score_high": score + spread,
        "wells": tuple(wells.split()),
    }
    return ranking().treatments[0].model_copy(update=changes)


def provisional(*treatments: TreatmentRank, revision: int = 1) -> Ranking:
    """Return a provisional ranking of day 8 with these treatments."""
    return ranking(day=8, revision=revision, final=False, treatments=treatments)


STRONG = treatment_rank(Verdict.EFFECTIVE, 9.0, "B02 B03")
WEAK = treatment_rank(Verdict.EFFECTIVE, 3.0, "B04 B05")
UNDECIDED = treatment_rank(Verdict.NO_EVIDENCE, 2.5, "C02 C03")
UNDECIDED_WIDE_INTERVAL = treatment_rank(Verdict.NO_EVIDENCE, 2.0, "D02 D03", spread=3.0)
NO_EFFECT = treatment_rank(Verdict.NO_EVIDENCE, 0.1, "E02 E03")
TOO_FEW = treatment_rank(Verdict.TOO_FEW_WELLS, 4.0, "F02")


def requested_wells(policy: ReimageUndecidedTreatments, after: Ranking) -> list[tuple[str, ...]]:
    """Return the wells of each request that a policy makes after a ranking."""
    return [request.wells for request in policy.after_ranking(after, NOW)]


def test_undecided_treatments_are_requested_with_the_highest_interval_first() -> None:
    after = provisional(STRONG, WEAK, TOO_FEW, UNDECIDED, UNDECIDED_WIDE_INTERVAL, NO_EFFECT)
    assert requested_wells(ReimageUndecidedTreatments(9), after) == [("D02", "D03", "C02", "C03")]


def test_no_more_wells_are_requested_than_the_maximum() -> None:
    assert requested_wells(
        ReimageUndecidedTreatments(3), provisional(STRONG, WEAK, UNDECIDED, UNDECIDED_WIDE_INTERVAL)
    ) == [("D02", "D03", "C02")]
    assert (
        requested_wells(
            ReimageUndecidedTreatments(0),
            provisional(STRONG, WEAK, UNDECIDED, UNDECIDED_WIDE_INTERVAL),
        )
        == []
    )


def test_without_an_effective_treatment_every_treatment_above_zero_is_undecided() -> None:
    assert requested_wells(ReimageUndecidedTreatments(9), provisional(UNDECIDED, NO_EFFECT)) == [
        ("C02", "C03", "E02", "E03")
    ]


def test_a_corrected_ranking_and_a_final_one_cause_no_request() -> None:
    """Second images correct a ranking; a request after each correction would never end."""
    assert (
        requested_wells(ReimageUndecidedTreatments(9), provisional(WEAK, UNDECIDED, revision=2))
        == []
    )
    assert (
        requested_wells(ReimageUndecidedTreatments(9), ranking(treatments=(WEAK, UNDECIDED))) == []
    )


def test_the_first_ranking_of_a_later_run_causes_requests_although_its_revision_is_not_1() -> None:
    first = ranking(
        day=8, revision=2, replaces=None, run=2, final=False, treatments=(WEAK, UNDECIDED)
    )
    assert requested_wells(ReimageUndecidedTreatments(9), first) == requested_wells(
        ReimageUndecidedTreatments(9), provisional(WEAK, UNDECIDED)
    )
