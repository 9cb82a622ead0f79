"""Work of ``spherorank rank``: rank a stored plate, a stored specimen or a table of profiles."""

from contextlib import closing
from pathlib import Path

from threadpoolctl import threadpool_limits

from daemon.alerts import Alerts
from daemon.config import Config
from daemon.wiring.microscope import open_wrong_images
from daemon.wiring.rankings import open_days, open_specimens
from daemon.wiring.service_clock import now
from daemon.wiring.store import open_store
from inference.bundle import load_bundle
from inference.departure.departure_settings import DepartureSettings
from inference.profiles import ProfileRanking, rank_profiles
from schemas.calibration import MethodRequest
from schemas.errors import ProfileError
from schemas.ranking import Ranking
from schemas.specimen import SpecimenRanking

# The arrays are small: several BLAS threads would only wait for one another.
_one_blas_thread = threadpool_limits.wrap(limits=1, user_api="blas")


@_one_blas_thread  # type: ignore[untyped-decorator]  # threadpoolctl has no types
def rank_plate_again(
    config: Config,
    plate: str,
    day: int | None,
    *,
    final: bool,
    request: MethodRequest | None = None,
) -> Ranking:
    """Rank a stored plate (id) on a day, or the readout day; return the new or unchanged Ranking.

    A new revision is stored only if its inputs differ from those of the last revision. Otherwise
    the last ranking is returned, and its missing files are written.

    Parameters
    ----------
    day
        The culture day; None for the readout day of the plate map.
    final
        Whether images that are missing now stay missing, so that the ranking is final.
    request
        Method and calibration that a person requested; None for the configured choice.

    Raises
    ------
    ProfileError
        If the store has no map of this plate, no image of this day, or the day cannot be ranked, or
        not by the requested method. Then nothing is stored.
    """
    with closing(open_store(config)) as store:
        plate_map = store.plate_map(plate)
        if plate_map is None:
            raise ProfileError(
                f"plate {plate}",
                f"is not in the store {config.store.url}; "
                f"expected one of {', '.join(store.plates()) or '(none yet)'}",
            )
        if (wrong_images := open_wrong_images(config, store)) is not None:
            wrong_images.exclude(plate)
        card = load_bundle(config.encoder.bundle).card
        days = open_days(config, store, card, Alerts(store, now))
        due = days.due_days.requested(
            plate_map, plate_map.readout_day if day is None else day, final=final, request=request
        )
        if due.previous is not None and days.is_current(due):
            days.write_files(due.previous)
            return due.previous
        ranking = days.rank_day(due)
        if ranking is None:
            raise ProfileError(
                f"plate {plate}, day {due.day}", "was not ranked; the alert above says why"
            )
        specimens = open_specimens(config, store, days.alerts)
        for each in store.rankings(plate):
            specimens.note(each)
        specimens.rank_noted()
        return ranking


def rank_specimen_again(config: Config, specimen: str) -> SpecimenRanking:
    """Rank a specimen from the stored final rankings of its plates and return the ranking.

    Raises
    ------
    ProfileError
        If fewer than two plates of the specimen have a final ranking.
    """
    with closing(open_store(config)) as store:
        return open_specimens(config, store, Alerts(store, now)).rank_again(specimen)


@_one_blas_thread  # type: ignore[untyped-decorator]  # threadpoolctl has no types
def rank_profile_table(
    table: Path,
    *,
    baseline_day: int,
    readout_day: int,
    out: Path,
    settings: DepartureSettings,
    assay: Path | None,
) -> ProfileRanking:
    """Rank the plates of a table of profiles, write the CSV files and return the ProfileRanking.

    Parameters
    ----------
    table
        CSV or Parquet file with ``Metadata_`` columns; every other column is a feature.
    baseline_day
        The last culture day before the treatments took effect.
    out
        CSV file for the treatments; the wells go to ``<stem>-wells.csv`` beside it.
    assay
        CSV file of measured viability; None ranks by departure.

    Raises
    ------
    ProfileError
        If the table or the assay cannot be read, or no plate of it can be ranked.
    """
    return rank_profiles(
        table,
        baseline_day=baseline_day,
        readout_day=readout_day,
        out=out,
        settings=settings,
        assay=assay,
    )
