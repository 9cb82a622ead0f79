"""Measures the numbers for monitoring that need the store or a disk."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from daemon.deliveries import unacknowledged_finals
from daemon.disk_space import DiskSpace
from daemon.metrics import Levels
from store.ports import AcknowledgementStore, Outbox


class LevelStore(Outbox, AcknowledgementStore, Protocol):
    """The parts of the store whose levels are measured."""


@dataclass(frozen=True)
class LevelMeter:
    """Measures Levels.

    Parameters
    ----------
    must_ack
        Names of the subscribers that have to acknowledge final rankings.
    missing_wells
        Returns the number of missing wells of each live plate.
    """

    store: LevelStore
    must_ack: Sequence[str]
    disks: DiskSpace
    missing_wells: Callable[[], Mapping[str, int]]

    def measure(self) -> Levels:
        """Return the present Levels, after the alerts about disks were raised or cleared."""
        free_bytes = self.disks.check()
        finals = unacknowledged_finals(self.store, self.must_ack)
        unacknowledged = Counter(dict.fromkeys(self.must_ack, 0))
        unacknowledged.update(final.subscriber for final in finals)
        return Levels(
            unpublished=self.store.unpublished(),
            unacknowledged=unacknowledged,
            free_bytes=free_bytes,
            missing_wells=self.missing_wells(),
        )
