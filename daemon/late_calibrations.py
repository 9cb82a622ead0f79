"""Alert about a calibration that was learned after plates of its line got a final ranking."""

from collections.abc import Callable, Sequence
from typing import Protocol

from daemon.alerts import Alerts
from schemas.calibration import CalibrationCard
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from schemas.ranking import Gate, Ranking
from store.ports import RankingStore

MAX_NAMED_PLATES = 10
"""Largest number of plates that an alert names, the newest first."""


class LateStore(RankingStore, Protocol):
    """The parts of the store that name the plates of a line and their rankings."""

    def plates_of_line(self, line: str | None) -> Sequence[str]:
        """Return the ids of the plates of which a map names a cell line."""
        ...

    def plate_map(self, plate: str) -> PlateMap | None:
        """Return the newest map of a plate, or None."""
        ...


def alert_about_late_calibration(
    card: CalibrationCard,
    line: str | None,
    store: LateStore,
    alerts: Alerts,
    tick: Callable[[], None] = lambda: None,
) -> None:
    """Raise an alert that offers new revisions by the calibration of a valid card and its line.

    It names the plates whose final ranking does not use the calibration. Plates that the
    calibration was learned from, and plates for which a person requested a method, are not named.
    ``tick`` is called after each plate.
    """
    late: list[Ranking] = []
    for plate in store.plates_of_line(line):
        tick()
        if (
            plate not in card.plates
            and (plate_map := store.plate_map(plate)) is not None
            and plate_map.line == line
            and (ranking := _newest_final(store, plate_map)) is not None
            and _could_use(ranking, card)
        ):
            late.append(ranking)
    if not late:
        return
    late.sort(key=lambda ranking: ranking.created_at, reverse=True)
    named = ", ".join(ranking.plate for ranking in late[:MAX_NAMED_PLATES])
    more = f" and {len(late) - MAX_NAMED_PLATES} older plates" if late[MAX_NAMED_PLATES:] else ""
    alerts.raise_once(
        AlertKind.ASSAY,
        f"calibration {card.digest}",
        f"a new calibration of {len(card.plates)} assay plates of the line {line or '(none)'} "
        f"exists, and the final rankings of {named}{more} do not use it: "
        "`spherorank rank plate PLATE` makes a new revision with it",
    )


def _newest_final(store: LateStore, plate_map: PlateMap) -> Ranking | None:
    """Return the newest final ranking of the readout day of a plate map's run, or None."""
    finals = [
        ranking
        for ranking in store.rankings(plate_map.plate)
        if ranking.final and ranking.run == plate_map.run and ranking.day == plate_map.readout_day
    ]
    return max(finals, key=lambda ranking: ranking.revision, default=None)


def _could_use(ranking: Ranking, card: CalibrationCard) -> bool:
    """Return whether a new revision of a ranking could use a calibration, and the last does not."""
    if ranking.requested_method is not None or ranking.quality.gate is Gate.NO_READOUT:
        return False
    if ranking.calibration is not None and ranking.calibration.digest == card.digest:
        return False
    # A model without an embedding has no encoder, and one without measures no method of measures.
    return card.encoder_id in ("", ranking.encoder_id) and card.measured_by in (
        None,
        ranking.measured_by,
    )
