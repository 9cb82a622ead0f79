"""Write the files of a virtual microscope: world, hardware configuration, plate maps, truth."""

from pathlib import Path

from schemas.errors import ConfigError
from simulation.microscope import VirtualMicroscope
from simulation.plate import CULTURE_DAYS
from simulation.robot import Progress, write_plate_map, write_truth
from simulation.world import World

# A pixel size applies while a property has a value. Micro-Manager's core knows no properties of
# devices written in Python, so the pixel size depends on its own property XYStage, which is empty.
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
    """Write the folder of a world and ``OUT/MMConfig.cfg``, with an empty stage and the lamp off.

    Raises
    ------
    ConfigError
        If the folder's path contains a comma, which separates the fields of an MMConfig file.
    """
    folder = world.folder.resolve()
    if "," in str(folder):
        raise ConfigError(
            folder,
            "has a comma in its name, which separates the fields of an MMConfig file; "
            "expected a path without a comma",
        )
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "world.toml").write_text(world.file.toml(), encoding="utf-8")
    world.switch_lamp(on=False)
    world.remove_plate()
    (out / "MMConfig.cfg").write_text(
        _MM_CONFIG.format(world=folder, um_per_px=world.um_per_px), encoding="utf-8"
    )


def write_maps_and_truth(out: Path, world: World, *, assay: bool, progress: Progress) -> None:
    """Write a world's plate maps to ``OUT/archive`` and every well and day to ``OUT/truth.csv``.

    Parameters
    ----------
    assay
        Whether to write the measured viability of each plate, too.
    progress
        Is called with the number of finished lines of ``truth.csv`` and their total number.
    """
    scopes: list[VirtualMicroscope] = list(world.scopes.values())
    wells = [
        (scope, plan, day) for scope in scopes for day in CULTURE_DAYS for plan in scope.plate.wells
    ]
    truths = []
    for scope in scopes:
        write_plate_map(scope, out / "archive", assay=assay)
    for scope, plan, day in wells:
        truths.append(scope.truth(plan, day))
        progress(len(truths), len(wells))
    write_truth(out / "truth.csv", truths)
