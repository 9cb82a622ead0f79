"""Augmentations by named presets: the limits of each random change; this module loads no torch.

Light, focus, position and orientation differ between images of the same tissue. Size, outline,
grain and debris are changed by drugs, so most presets keep them:
``docs/explanation/training-data.md``. All lengths are shares of the field.
"""

from dataclasses import dataclass
from typing import Final

from schemas.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """Largest change of each kind; 0 or False switches it off."""

    turn: bool = False  # by any angle; pixels from outside are empty background
    flip: bool = False
    shift: float = 0.0  # share of the field, in both directions
    gain: float = 0.0  # standard deviation of the logarithm of the light
    tilt: float = 0.0  # relative change of the light from one side to the other
    focus: float = 0.0  # 0…1: 1 mixes a plane half and half with its neighbour
    reverse_planes: bool = False  # reverse half of the stacks; the middle plane stays
    blur: float = 0.0  # standard deviation, share of the field; grain of cells is about 0.01
    noise: float = 0.0  # standard deviation, share of white
    crop: tuple[float, float] = (1.0, 1.0)
    """Smallest and largest share of the area that is cut out and enlarged to the whole view. A
    share below 1 hides the size of the tissue and cuts debris away."""
    grey: float = 0.0  # share of views whose three planes are replaced by their mean


PRESETS: Final[dict[str, Augmentation]] = {
    "none": Augmentation(),
    "weak": Augmentation(turn=True, flip=True, shift=0.02, gain=0.02),
    "light": Augmentation(
        turn=True, flip=True, shift=0.04, gain=0.04, tilt=0.05, focus=0.2, blur=0.002, noise=0.005
    ),
    "spheroid": Augmentation(
        turn=True,
        flip=True,
        shift=0.08,
        gain=0.08,
        tilt=0.15,
        focus=0.5,
        reverse_planes=True,
        blur=0.0035,
        noise=0.01,
    ),
    "strong": Augmentation(
        turn=True,
        flip=True,
        shift=0.08,
        gain=0.1,
        tilt=0.25,
        focus=0.8,
        reverse_planes=True,
        blur=0.005,
        noise=0.02,
        grey=0.1,
    ),
    # The operations that B. Babu, "Determination of Drug Efficacy on Pancreatic Tumor 3D Spheroidal
    # Tissues", master thesis, Technical University of Applied Sciences Würzburg-Schweinfurt with
    # Fraunhofer TLZ-RT Würzburg, 2024, uses for its baseline. "thesis" crops more, as contrastive
    # learning usually does; "thesis_baseline" keeps 80–100 % of the area, as the thesis does. The
    # amounts of grey and blur are our own.
    "thesis": Augmentation(flip=True, crop=(0.5, 1.0), grey=0.2, blur=0.008),
    "thesis_baseline": Augmentation(flip=True, crop=(0.8, 1.0), grey=0.2, blur=0.008),
}


def get_preset(name: str, key: str = "augment") -> Augmentation:
    """Return the augmentation preset of a name, which is the value of a key.

    Raises
    ------
    ConfigError
        If there is no preset of this name.
    """
    if name not in PRESETS:
        raise ConfigError(key, f"is {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]
