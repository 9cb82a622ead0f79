"""Writes a virtual laboratory: its world, the configuration of its microscope, plate maps where its archive will be, and the truth."""

from pathlib import Path

from schemas.errors import ConfigError
from simulation.microscope import VirtualMicroscope
from simulation.plate import CULTURE_DAYS
from simulation.robot import Progress, write_plate_map, write_truth
from simulation.world import World

# The core knows nothing of devices written in Python, so the pixel size hangs on what it always says of its own stage: that it has none.
_MM_CONFIG = """\
# A virtual microscope (spherorank simulate --microscope). Load it with pymmcore-plus's UniMMCore.
Property,Core,Initialize,0
#py pyDevice,Camera,simulation.devices,VirtualCamera
#py pyDevice,Stage,simulation.devices,VirtualStage
#py pyDevice,Focus,simulation.devices,VirtualFocus
#py pyDevice,Lamp,simulation.devices,VirtualLamp
#py Property,Camera,World,{world}
#py Property,Stage,World,{world}
#py Property,Focus,World,{world}
#py Property,Lamp,World,{world}
Property,Core,Initialize,1
#py Property,Core,Camera,Camera
#py Property,Core,XYStage,Stage
#py Property,Core,Focus,Focus
#py Property,Core,Shutter,Lamp
#py ConfigGroup,Channel,BF,Lamp,Intensity_percent,100
#py ConfigGroup,Channel,Dim,Lamp,Intensity_percent,30
#py ConfigPixelSize,Objective,Core,XYStage,
PixelSize_um,Objective,{um_per_px:.6g}
"""


def write_world(out: Path, world: World) -> None:
    """Write ``OUT/world`` and ``OUT/MMConfig.cfg``; the stage is empty and the lamp off.

    Raises
    ------
    ConfigError
        If the folder's name cannot stand in a configuration of Micro-Manager.
    """
    folder = world.folder.resolve()
    if "," in str(folder):
        raise ConfigError(
            folder,
            "has a comma in its name, which parts the fields of an MMConfig file; expected a path without",
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "world.toml").write_text(world.file.toml())
    world.switch_lamp(on=False)
    world.take_away()
    (out / "MMConfig.cfg").write_text(_MM_CONFIG.format(world=folder, um_per_px=world.um_per_px))


def write_maps_and_truth(out: Path, world: World, *, assay: bool, progress: Progress) -> None:
    """Write ``OUT/archive/PLATE`` with the plate maps, and ``OUT/truth.csv`` of every well and day."""
    scopes: list[VirtualMicroscope] = list(world.scopes.values())
    looks = [
        (scope, plan, day) for scope in scopes for day in CULTURE_DAYS for plan in scope.plate.wells
    ]
    truths = []
    for scope in scopes:
        write_plate_map(scope, out / "archive", assay=assay)
    for scope, plan, day in looks:
        truths.append(scope.truth(plan, day))
        progress(len(truths), len(looks))
    write_truth(out / "truth.csv", truths)
