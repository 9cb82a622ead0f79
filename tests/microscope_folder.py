"""A folder with a virtual microscope: its plate, its journal, and faults of its devices."""

import json
from pathlib import Path
from typing import Any

from simulation.world import World


class MicroscopeFolder:
    """A folder with a virtual microscope, an archive, and the state of the imaging process."""

    folder: Path
    world: World

    @property
    def plate(self) -> str:
        """The id of the first plate."""
        return next(iter(self.world.scopes))

    @property
    def wells(self) -> list[str]:
        """The wells of the first plate."""
        return [plan.well for plan in self.world.scopes[self.plate].plate.wells]

    def journal(self, day: int = 7) -> list[dict[str, Any]]:
        """Return the entries of the journal of a culture day."""
        path = self.folder / "microscope" / "journal" / f"{self.plate}-day{day:02d}.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()]

    def break_device(
        self, label: str, fault: str, *, fails_at: int | None = 7, **properties: float
    ) -> None:
        """Replace a device of the Micro-Manager configuration by a faulty one with properties.

        For example ``break_device("Stage", "RaisingStage")``; ``fails_at`` is the number of the
        call that fails, or None if the device has no such property.
        """
        path = self.folder / "MMConfig.cfg"
        text = path.read_text().replace(
            f"simulation.devices,Virtual{label}", f"tests.faulty_devices,{fault}"
        )
        values = properties if fails_at is None else {"FailsAt": fails_at, **properties}
        lines = [f"#py Property,{label},{name},{value}\n" for name, value in values.items()]
        path.write_text("\n".join([text, *lines]))

    def repair_devices(self) -> None:
        """Replace every faulty device by the good one."""
        path = self.folder / "MMConfig.cfg"
        lines = [line for line in path.read_text().splitlines() if "FailsAt" not in line]
        for index, line in enumerate(lines):
            if "tests.faulty_devices" in line:
                label = line.split(",")[1]
                lines[index] = f"#py pyDevice,{label},simulation.devices,Virtual{label}"
        path.write_text("\n".join(lines) + "\n")
