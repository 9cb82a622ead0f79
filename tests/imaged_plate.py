"""A virtual plate that this process images through a real core of Micro-Manager."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tifffile

from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.microscope.day_plan import DayResult
from acquisition.microscope.imaging_requests import ASKED, ImagingRequest, open_imaging_requests
from acquisition.microscope.micromanager import MicroManager
from acquisition.microscope.pictures import WellPictures, make_picture
from acquisition.microscope.plate_loaders import ManualLoader
from acquisition.microscope.settings import FieldsUse, Focusing, MicroscopeSettings
from daemon.config_sections import MicromanagerSection
from daemon.jobs.simulate import write_virtual_microscope
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.imaging_loop import ImagingLoop
from daemon.microscope.imaging_loop_builder import build_imaging_loop
from daemon.microscope.imaging_queue import ImagingJob
from schemas.plate_map import PlateMap
from simulation.devices import _bench_of
from simulation.plate import WellPlan
from simulation.world import A1_UM, FOCUS_Z_UM, World, WorldFile
from tests.laboratory import now
from tests.microscope_folder import MicroscopeFolder


@dataclass
class ImagedPlate(MicroscopeFolder):
    """A folder with a virtual microscope whose wells are all in focus at one height."""

    folder: Path
    world: World
    home_stage: bool = False
    a1_um: tuple[float, float] = A1_UM
    fields: tuple[int, int] = (1, 1)
    fields_use: FieldsUse = FieldsUse.LARGEST_TISSUE
    tries: int = 3
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    @classmethod
    def make(cls, folder: Path, *, day: int, wells: int = 60, seed: int = 3) -> "ImagedPlate":
        """Write a virtual microscope into a folder and put its plate on the stage on a day."""
        file = WorldFile(seed=seed, size_px=256, wells=wells, focus_error_um=0, tilt_um=(0.0, 0.0))
        made = cls(folder, write_virtual_microscope(folder, file, assay=False))
        made.world.place_plate(made.plate, day)
        return made

    @property
    def plate_map(self) -> PlateMap:
        """The plate map in the archive."""
        found = read_plate_maps(self.folder / "archive")[self.plate]
        assert isinstance(found, PlateMap)
        return found

    def change_wells(self, change: Callable[[WellPlan], WellPlan]) -> None:
        """Change the plan of each well in the world of the devices."""
        world = _bench_of((self.folder / "world").resolve()).world
        scope = world.scopes[self.plate]
        wells = tuple(change(plan) for plan in scope.plate.wells)
        world.scopes[self.plate] = replace(scope, plate=replace(scope.plate, wells=wells))
        world._fields.cache_clear()

    def repair_devices(self) -> None:
        """Replace every faulty device by the good one, and its lamp by a bright one."""
        super().repair_devices()
        _bench_of((self.folder / "world").resolve()).intensity = 1.0

    @contextmanager
    def loop(self) -> Iterator[ImagingLoop]:
        """Open the microscope and yield its imaging loop; its events are added to ``events``."""
        settings = MicroscopeSettings(
            config=self.folder / "MMConfig.cfg",
            a1_um=self.a1_um,
            channel="Channel:BF",
            focusing=Focusing.OFF,
            focus_z_um=FOCUS_Z_UM,
            backoff_s=0.0,
            home_stage=self.home_stage,
            fields=self.fields,
            fields_use=self.fields_use,
            tries=self.tries,
        )
        section = MicromanagerSection.model_validate(
            {
                "config": settings.config,
                "a1_um": self.a1_um,
                "state": self.folder / "microscope",
                "keep_free_bytes": 0,
            }
        )
        scope = MicroManager(settings, now)
        try:
            yield build_imaging_loop(
                scope=scope,
                settings=settings,
                section=section,
                archive=self.folder / "archive",
                loader=ManualLoader(),
                watchdog=Watchdog(stall_s=60, grace_s=60, emit=self._emit, lamp_off=scope.lamp_off),
                emit=self._emit,
                stop_signals=[],
                wait=lambda _seconds: None,
                clock=now,
                elapsed_s=lambda: 0.0,
            )
        finally:
            scope.close()

    def image(self, day: int, *wells: str, loop: ImagingLoop | None = None) -> DayResult:
        """Image the plate, or some of its wells, by a request of an operator."""
        request = ImagingRequest(
            plate=self.plate, day=day, wells=wells, reason=ASKED, made_at=now()
        )
        requests = open_imaging_requests(self.folder / "microscope")
        job = ImagingJob(self.plate, day, request, requests.add(request) or "")
        if loop is None:
            with self.loop() as opened:
                result = opened.image(job, self.plate_map)
        else:
            result = loop.image(job, self.plate_map)
        assert result is not None
        return result

    def pictures(self, day: int) -> dict[str, WellPictures]:
        """Return the picture of the newest ranked image of each well in the archive."""
        folder = self.folder / "archive" / self.plate / f"day{day:02d}"
        ranked = [path for path in sorted(folder.glob("*.ome.tif")) if path.name.count("_") == 1]
        newest = {path.name[:3]: path for path in ranked}
        return {well: (make_picture(tifffile.imread(path)),) for well, path in newest.items()}

    def named(self, event: str) -> list[dict[str, Any]]:
        """Return the fields of each event of a name."""
        return [fields for name, fields in self.events if name == event]

    def alerts(self) -> list[str]:
        """Return the messages of the alerts."""
        return [fields["message"] for fields in self.named("alert")]

    def _emit(self, event: str, **fields: Any) -> None:  # noqa: ANN401 - fields of any event
        self.events.append((event, fields))
