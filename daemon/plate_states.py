"""Chooses the plates that the main loop examines: live ones, and a closed one now and then.

A plate is closed when no time that passes can make a new ranking of it. Every change of its inputs
makes it live again (:class:`store.ports.PlateStateStore`). See
``docs/decisions/0017-closed-plates.md``.
"""

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

import structlog

from daemon.alerts import Alerts
from daemon.due_days import DaySettings, DueDays, Progress
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from schemas.plate_state import PlateState, StoredPlateState
from store.ports import PlateMapStore, PlateStateStore

log = structlog.get_logger()

AUDIT_S = 60.0
"""Interval at which one closed plate is checked, in turn, as if it was not closed."""


class StateStore(PlateMapStore, PlateStateStore, Protocol):
    """The parts of the store that keep plate maps and the states of plates."""


def basis_of(settings: DaySettings, encoder_id: str) -> str:
    """Return the digest of everything besides stored data that decides whether a day is due.

    A new version of the code is part of it: it examines each plate once.
    """
    model = settings.departure.sequence_model
    parts = [
        settings.code_version,
        settings.config_digest,
        encoder_id,
        settings.embedding_weight,
        settings.field_um,
        model.name if model else "",
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


@dataclass
class PlateStates:
    """The states of the plates of a store, and the plates to examine.

    Parameters
    ----------
    basis
        Digest of the settings and the version, as :func:`basis_of` returns it.
    now
        Returns the present time.
    clock
        Returns seconds that never decrease.
    """

    store: StateStore
    due_days: DueDays
    alerts: Alerts
    basis: str
    now: Callable[[], datetime]
    clock: Callable[[], float] = time.monotonic
    _live: dict[str, int] = field(default_factory=dict)  # number of changes, by plate
    _saved: dict[str, StoredPlateState] = field(default_factory=dict)  # of live plates
    _progress: dict[str, tuple[int, Progress]] = field(
        default_factory=dict
    )  # of live plates, with the number of changes for which it is valid
    _audited: str = ""  # the closed plate that was examined last
    _next_audit_s: float = float("-inf")

    def live_plates(self) -> list[str]:
        """Return the plates (ids) that are not closed, in alphabetical order."""
        self._live = dict(self.store.live_plates(self.basis))
        for plate in self._saved.keys() - self._live.keys():
            del self._saved[plate]
        for plate in self._progress.keys() - self._live.keys():
            del self._progress[plate]
        return list(self._live)

    def missing_wells(self) -> dict[str, int]:
        """Return for each live plate the number of wells without an image on its newest day."""
        return {plate: found.missing_wells for plate, (_, found) in self._progress.items()}

    def next_closed(self) -> str | None:
        """Return the next closed plate in turn; None if one was returned within ``AUDIT_S``.

        Checking closed plates finds a change that no part of the service has noted, and files that
        were deleted.
        """
        if self.clock() < self._next_audit_s:
            return None
        self._next_audit_s = self.clock() + AUDIT_S
        closed = list(self.store.closed_plates(self.basis))
        later = (plate for plate in closed if plate > self._audited)
        self._audited = next(later, closed[0] if closed else "")
        return self._audited or None

    def is_finished(self, plate: str) -> bool:
        """Return whether a plate (id) has a final ranking and no day of it is due at any time."""
        plate_map = self.store.plate_map(plate)
        progress = self.due_days.progress(plate_map) if plate_map is not None else None
        return progress is not None and progress.has_final and not self._unreported(progress)

    def settle(self, plate: str, open_work: Sequence[str]) -> PlateState | None:
        """Find and store the state of a live plate (id), after it was examined; return it.

        Return None for a plate without a map, and for a plate that was not live.

        Parameters
        ----------
        open_work
            The work on the plate that is left, such as images that are pending. A plate with any is
            not closed.
        """
        changes = self._live.get(plate)
        plate_map = self.store.plate_map(plate) if changes is not None else None
        if changes is None or plate_map is None:
            return None
        progress = self._progress_of(plate_map, changes)
        if progress.has_final:
            is_open = open_work or self._unreported(progress)
            state = PlateState.FINAL if is_open else PlateState.CLOSED
        else:
            state = PlateState.DUE if progress.unranked else PlateState.COLLECTING
        self._save(plate, StoredPlateState(state, plate_map.run, changes, self.basis, self.now()))
        return state

    def _unreported(self, progress: Progress) -> list[int]:
        """Return the unranked days whose inputs can be ranked, as far as alerts tell."""
        return [
            day
            for day, digest in progress.unranked.items()
            if not self.alerts.is_active(AlertKind.QUALITY_GATE, digest)
        ]

    def _progress_of(self, plate_map: PlateMap, changes: int) -> Progress:
        known_for, progress = self._progress.get(plate_map.plate, (None, None))
        if progress is None or known_for != changes:
            progress = self.due_days.progress(plate_map)
            self._progress[plate_map.plate] = changes, progress
        return progress

    def _save(self, plate: str, found: StoredPlateState) -> None:
        """Store a state that differs from the stored one in more than its time and changes."""
        saved = self._saved.get(plate)
        is_new = saved is None or (saved.state, saved.run) != (found.state, found.run)
        if is_new or found.state is PlateState.CLOSED:
            self.store.save_plate_state(plate, found)
            self._saved[plate] = found
            log.info("plate.state", plate=plate, run=found.run, state=found.state)
