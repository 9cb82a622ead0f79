"""Run a command of SpheroRank with a clock that is faster than the clock of this computer.

    python -m benchmarks.soak_clock CLOCK run --config spherorank.toml

CLOCK is a JSON file with the fields of :class:`Compression`. Only the clock of the service is
changed: culture days, deadlines and the times of rankings follow it. Time limits of files, of the
sockets and of heartbeats follow the clock of this computer.
"""

import json
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from daemon import commands
from daemon.steady_clock import SteadyClock
from daemon.wiring import service_clock


@dataclass(frozen=True)
class Compression:
    """The relation between simulated time and the time of this computer.

    Parameters
    ----------
    real_start_s, simulated_start_s
        The same moment by both clocks, in seconds since 1970.
    factor
        Simulated seconds in one second.
    offset_s
        By how many simulated seconds the computer's clock is set wrong.
    """

    real_start_s: float
    simulated_start_s: float
    factor: float
    offset_s: float = 0.0

    def simulated_s(self) -> float:
        """Return the simulated time in seconds since 1970."""
        return self.simulated_start_s + (time.time() - self.real_start_s) * self.factor

    def hour(self) -> float:
        """Return the simulated hours since the start."""
        return (self.simulated_s() - self.simulated_start_s) / 3600

    def write(self, file: Path) -> None:
        """Write the JSON file, which a running service reads."""
        part = file.with_suffix(".part")
        part.write_text(json.dumps(asdict(self)))
        part.replace(file)

    def set_wrong(self, file: Path, offset_s: float) -> None:
        """Set the computer's clock of the services that read a file wrong, by simulated seconds."""
        replace(self, offset_s=offset_s).write(file)


class CompressedClock:
    """The two clocks of a :class:`daemon.steady_clock.SteadyClock` in simulated time.

    Both return the time of the last reading of ``steady_s``. Otherwise the time between the two
    readings, which the compression enlarges, would be a jump of the clock.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._compression = Compression(**json.loads(file.read_text()))
        self._read_s = self._compression.simulated_s()

    def steady_s(self) -> float:
        """Return the simulated time by a clock that cannot be set, in seconds."""
        self._read_s = self._compression.simulated_s()
        return self._read_s

    def wall_s(self) -> float:
        """Return the simulated time by the clock that can be set, in seconds since 1970."""
        return self._read_s + float(json.loads(self._file.read_text())["offset_s"])


def main() -> None:
    """Run the command line of SpheroRank with the clock of the file in the first argument."""
    clock = CompressedClock(Path(sys.argv.pop(1)))
    service_clock.CLOCK = SteadyClock(clock.wall_s, clock.steady_s, is_synchronised=lambda: True)
    commands.main()


if __name__ == "__main__":
    main()
