"""Keeps the ranking of each specimen up to date with the final rankings of its plates."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from daemon.alerts import Alerts
from daemon.reports.revision_files import Written, after_written
from daemon.reports.specimen_files import specimen_folder_name
from inference.ranking.specimen import rank_specimen
from schemas.errors import OutputError, ProfileError, SpheroRankError, StoreError
from schemas.machine_faults import reason_of
from schemas.messages import AlertKind, SpecimenData
from schemas.ranking import Gate, Ranking
from schemas.specimen import SpecimenRanking
from store.ports import PlateMapStore, RankingStore, SpecimenStore

log = structlog.get_logger()

MIN_PLATES = 2


class SpecimenRankingStore(PlateMapStore, RankingStore, SpecimenStore, Protocol):
    """The parts of the store that the ranking of a specimen reads and writes."""


@dataclass(frozen=True)
class Specimens:
    """The specimens whose plates were ranked, until their own ranking is committed.

    A crash loses nothing: after a restart every final ranking is noted again from the store, and a
    specimen is ranked only if its inputs changed.
    """

    store: SpecimenRankingStore
    seed: int
    config_digest: str
    code_version: str
    write: Callable[[SpecimenRanking], Sequence[Path]]  # writes the missing files of a ranking
    alerts: Alerts
    clock: Callable[[], datetime]
    newest_written: Callable[[SpecimenRanking], Written] = lambda _ranking: Written(
        0, is_of_same_run=False
    )
    _of_run: dict[tuple[str, int], str | None] = field(
        default_factory=dict
    )  # by plate and run: the specimen that its last ranking named
    _noted: set[str] = field(default_factory=set)
    _unwritten: dict[str, SpecimenRanking] = field(default_factory=dict)  # by cause of the alert

    def note(self, ranking: Ranking) -> None:
        """Record that the specimen of a final plate ranking has to be ranked.

        If this run of the plate belonged to another specimen before, that one is ranked again too.
        """
        if ranking.final:
            run = ranking.plate, ranking.run
            before = self._of_run.get(run)
            self._noted.update(
                specimen for specimen in (ranking.specimen, before) if specimen is not None
            )
            self._of_run[run] = ranking.specimen

    def has_open_work(self, plate: str) -> bool:
        """Return whether a specimen of a plate (id) has to be ranked, failed or lacks files."""
        of_plate = {
            specimen for (name, _), specimen in self._of_run.items() if name == plate and specimen
        }
        return any(
            specimen in self._noted
            or self.alerts.is_active(AlertKind.RANKING, f"specimen {specimen}")
            or any(each.specimen == specimen for each in self._unwritten.values())
            for specimen in of_plate
        )

    def rank_noted(self) -> None:
        """Rank every noted specimen; it stays noted if the store fails before the ranking is in it.

        A specimen that raises an unexpected exception does not stop the others. An alert names it,
        and it is ranked again after the next ranking of one of its plates.
        """
        for specimen in sorted(self._noted):
            cause = f"specimen {specimen}"
            try:
                for ranking in self.store.specimen_rankings(specimen):
                    self._write_files(ranking)
                self._rank(specimen)
            except StoreError:
                raise
            except Exception as error:
                log.exception("specimen.failed", specimen=specimen)
                message = f"{cause} cannot be ranked: {reason_of(error)}"
                self.alerts.raise_once(AlertKind.RANKING, cause, message)
            else:
                self.alerts.clear(AlertKind.RANKING, cause)
            self._noted.discard(specimen)

    def write_missing_files(self) -> None:
        """Write the files that could not be written before."""
        for ranking in list(self._unwritten.values()):
            self._write_files(ranking)

    def rank_again(self, specimen: str) -> SpecimenRanking:
        """Return the newest ranking of a specimen (id), and write its missing files.

        A new revision is made if the rankings of its plates changed.


        Raises
        ------
        ProfileError
            If fewer than two of its plates have a final ranking.
        """
        ranking = self._rank(specimen)
        if ranking is None:
            plates = self.store.plates_of_specimen(specimen)
            there = sorted({each.plate for each in self._finals(specimen)})
            raise ProfileError(
                f"specimen {specimen}",
                f"is named by {', '.join(plates) or 'no plate'} in the store, "
                f"of which {', '.join(there) or 'none'} "
                f"has a final ranking of its readout day; "
                f"expected {MIN_PLATES} plates or more",
            )
        self._write_files(ranking)
        return ranking

    def _rank(self, specimen: str) -> SpecimenRanking | None:
        """Commit a new ranking of a specimen if its inputs changed; return the newest ranking."""
        finals = self._finals(specimen)
        previous = max(
            self.store.specimen_rankings(specimen), key=lambda each: each.revision, default=None
        )
        inputs_digest = _digest(finals)
        if (
            not finals
            or (previous is None and len(finals) < MIN_PLATES)
            or (previous is not None and previous.inputs_digest == inputs_digest)
        ):
            return previous
        ranking = SpecimenRanking(
            **rank_specimen(finals, seed=self.seed).model_dump(),
            specimen=specimen,
            revision=previous.revision + 1 if previous else 1,
            replaces=previous.revision if previous else None,
            created_at=self.clock(),
            code_version=self.code_version,
            config_digest=self.config_digest,
            inputs_digest=inputs_digest,
        )
        ranking = after_written(ranking, self.newest_written(ranking))
        self.store.add_specimen_ranking(ranking, SpecimenData(**ranking.model_dump()))
        used = [plate.plate for plate in ranking.plates if plate.left_out is None]
        log.info("specimen.published", specimen=specimen, revision=ranking.revision, plates=used)
        self._write_files(ranking)
        return ranking

    def _finals(self, specimen: str) -> list[Ranking]:
        """Return the newest final readout-day ranking of each run of a specimen that has one.

        A run without a readout has none.
        """
        newest = []
        for plate in self.store.plates_of_specimen(specimen):
            rankings = self.store.rankings(plate)
            for plate_map in self.store.run_maps(plate):
                if plate_map.specimen != specimen:
                    continue
                final = [
                    each
                    for each in rankings
                    if each.final
                    and each.quality.gate is not Gate.NO_READOUT
                    and (each.run, each.day) == (plate_map.run, plate_map.readout_day)
                ]
                newest += sorted(final, key=lambda each: each.revision)[-1:]
        return newest

    def _write_files(self, ranking: SpecimenRanking) -> None:
        """Write the missing files of a specimen's ranking.

        The ranking is in the store, so a failure raises an alert. It is tried again by
        :meth:`write_missing_files` and at the next start.
        """
        cause = f"specimen {ranking.specimen} {ranking.name}"
        folder = specimen_folder_name(ranking.specimen)
        try:
            if folder in self.store.plates():
                raise OutputError(
                    folder,
                    f"is the folder of a plate; expected no plate with the folder name of "
                    f"specimen {ranking.specimen}",
                )
            self.write(ranking)
        except SpheroRankError as error:
            self._unwritten[cause] = ranking
            self.alerts.raise_once(
                AlertKind.DISK,
                cause,
                f"the files of {cause} cannot be written: {error}",
                blocks=isinstance(error, OutputError),
            )
        else:
            self._unwritten.pop(cause, None)
            self.alerts.clear(AlertKind.DISK, cause)


def _digest(rankings: Sequence[Ranking]) -> str:
    """Return SHA-256 of the plate rankings that a specimen's ranking uses."""
    rests_on = sorted(
        (each.plate, each.day, each.revision, each.inputs_digest) for each in rankings
    )
    return hashlib.sha256(json.dumps(rests_on).encode()).hexdigest()
