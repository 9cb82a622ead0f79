"""Another code version does not cause plates or specimens to be ranked again."""

from dataclasses import replace

from daemon.specimens import Specimens
from tests.made_up_site import Site, small

OTHER_CODE = "0.2.0+gabcdef012345"


def test_a_plate_is_not_ranked_again_by_another_code_version(site: Site) -> None:
    plate = site.add(small("P1"))
    rankings = site.rank(plate)
    assert rankings
    site.settings = replace(site.settings, code_version=OTHER_CODE)
    site.restart()
    assert site.rank(plate) == []
    assert site.again(plate) is None


def test_the_next_ranking_for_another_reason_names_the_code_version_that_made_it(
    site: Site,
) -> None:
    plate = site.add(small("P1"))
    site.rank(plate)
    site.settings = replace(site.settings, code_version=OTHER_CODE)
    site.restart()
    site.image(plate, plate.entries[-1].well, 10, seed=1)
    (corrected,) = site.rank(plate)
    assert corrected.code_version == OTHER_CODE


def test_a_specimen_is_not_ranked_again_by_another_code_version(site: Site) -> None:
    for name in ("P1", "P2"):
        site.rank(site.add(small(name, specimen="S1")))

    def rank_by(code_version: str) -> int:
        specimens = Specimens(
            store=site.store,
            seed=1,
            config_digest="c" * 64,
            code_version=code_version,
            write=lambda _ranking: (),
            alerts=site.days.alerts,
            clock=site.clock,
        )
        return specimens.rank_again("S1").revision

    assert [rank_by("0.1.0"), rank_by(OTHER_CODE)] == [1, 1]
