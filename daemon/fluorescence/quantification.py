"""Quantify the stains of a plate and compute the viability of its wells."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from daemon.fluorescence.images import find_images, read_planes
from daemon.fluorescence.settings import FluorescenceSettings, Stain
from inference.fluorescence.stain_signal import (
    MAX_SATURATED_SHARE,
    StainSignal,
    bleed_through,
    measure_stain,
    subtract_bleed_through,
)
from inference.fluorescence.viability import (
    ViabilityFrom,
    WellSignals,
    estimate_dead_weight,
    viability_percent,
)
from schemas.errors import ImageError, ProfileError
from schemas.plate_map import Group, PlateMap

MIN_RELATIVE_SHARPNESS = 0.12
"""Smallest sharpness of a stain relative to the median of the plate."""
MAX_BLEED_THROUGH = 0.05
"""Largest share of one stain's signal in the channel of another one, as the median of the wells."""
MAX_LEFT_OUT_SHARE = 0.5
"""Largest share of the imaged wells without a usable image."""


@dataclass(frozen=True)
class StainNumbers:
    """Numbers of one stain in one well."""

    area_px: int
    intensity: float  # counts above the background
    background: float  # counts
    sharpness: float
    saturated_share: float
    is_empty: bool
    kind: str  # number, size and type of its planes


@dataclass
class WellResult:
    """The stains of one well, its live share and viability, or the reason why it is left out."""

    well: str
    stains: dict[Stain, StainNumbers]
    live_share: float | None = None
    viability_percent: float | None = None
    left_out: str = ""


@dataclass
class PlateResult:
    """The result of one plate."""

    plate_map: PlateMap
    wells: dict[str, WellResult]
    dead_weight: float | None  # None: not used
    refused: list[ImageError] = field(default_factory=list)
    other_channels: Mapping[str, int] = field(default_factory=dict)

    @property
    def untreated(self) -> set[str]:
        """Untreated wells of the plate map."""
        return {entry.well for entry in self.plate_map.entries if entry.group is Group.UNTREATED}

    @property
    def assayed(self) -> dict[str, float]:
        """Viability in percent of the control by well, of the wells that have one."""
        return {
            name: well.viability_percent
            for name, well in self.wells.items()
            if well.viability_percent is not None
        }


OnWell = Callable[[str, Mapping[Stain, StainSignal]], None]
"""Receives the name of a well and its signals, for an overlay."""


def quantify_plate(
    folder: Path, settings: FluorescenceSettings, plate_map: PlateMap, on_well: OnWell
) -> PlateResult:
    """Return the PlateResult of the images below a folder, with settings and a plate map.

    Wells with a saturated, blurred or missing stain are left out with the reason.

    Raises
    ------
    ConfigError
        If no file is an image of a stain.
    ProfileError
        If a stain is empty in all wells, reaches the channel of another one, or too few wells or
        untreated wells are usable.
    """
    found = find_images(folder, settings, plate_map)
    result = PlateResult(plate_map, {}, None, found.refused, found.other_channels)
    bleeding: dict[tuple[Stain, Stain], list[tuple[float, float]]] = {}
    for well, files in sorted(found.files.items()):
        signals: dict[Stain, StainSignal] = {}
        kinds: dict[Stain, str] = {}
        for stain, paths in files.items():
            try:
                planes, kinds[stain] = read_planes(paths)
                signals[stain] = measure_stain(planes, settings.projection)
            except ImageError as error:
                result.refused.append(error)
        signals = _corrected(signals, settings)
        for pair, found_share in _bleed_through(signals).items():
            bleeding.setdefault(pair, []).append(found_share)
        on_well(well, signals)
        result.wells[well] = WellResult(
            well, {stain: _numbers(signal, kinds[stain]) for stain, signal in signals.items()}
        )
    _check_stains(result, settings)
    _check_bleed_through(bleeding, plate_map.plate)
    _leave_out(result, settings)
    _add_viability(result, settings)
    return result


def _corrected(
    signals: Mapping[Stain, StainSignal], settings: FluorescenceSettings
) -> dict[Stain, StainSignal]:
    """Return the signals of one well without the known bleed-through of the other stains."""
    corrected = dict(signals)
    for stain, signal in signals.items():
        for other, share in settings.stains[stain].bleed_from.items():
            if other in signals and signals[other].signal.shape == signal.signal.shape:
                corrected[stain] = subtract_bleed_through(corrected[stain], signals[other], share)
    return corrected


def _bleed_through(
    signals: Mapping[Stain, StainSignal],
) -> dict[tuple[Stain, Stain], tuple[float, float]]:
    """Return (intensity of a stain, its share in the channel of another one), by pair of stains.

    All cells have nuclei, so that a stain with the texture of the nuclei is no bleed-through.
    """
    cells = [stain for stain in signals if stain is not Stain.NUCLEI]
    return {
        (source, target): (
            signals[source].intensity,
            bleed_through(signals[target], signals[source]),
        )
        for source in cells
        for target in cells
        if source is not target and signals[source].signal.shape == signals[target].signal.shape
    }


def _numbers(signal: StainSignal, kind: str) -> StainNumbers:
    return StainNumbers(
        signal.area_px,
        signal.intensity,
        signal.background,
        signal.sharpness,
        signal.saturated_share,
        signal.is_empty,
        kind,
    )


def _check_stains(result: PlateResult, settings: FluorescenceSettings) -> None:
    """Raise ProfileError if a stain has no readable image, or no signal in any well."""
    for stain, section in settings.stains.items():
        wells = [well.stains[stain] for well in result.wells.values() if stain in well.stains]
        if not wells:
            refused = f"; {result.refused[0]}" if result.refused else ""
            raise ProfileError(
                result.plate_map.plate,
                f"no image of the stain {stain} (channel {section.channel}) can be used in any of "
                f"{len(result.wells)} wells; expected one of each well{refused}",
            )
        if all(each.is_empty for each in wells):
            raise ProfileError(
                result.plate_map.plate,
                f"the stain {stain} (channel {section.channel}) has no signal above the background "
                f"in any of {len(wells)} wells; expected a stained plate",
            )


def _check_bleed_through(
    bleeding: Mapping[tuple[Stain, Stain], list[tuple[float, float]]], plate: str
) -> None:
    """Raise ProfileError if a stain reaches the channel of another one.

    The share is the median over the half of the wells in which the stain is strongest.
    """
    for (source, target), wells in bleeding.items():
        strongest = sorted(wells, reverse=True)[: max(1, len(wells) // 2)]
        usual = median(share for _, share in strongest)
        if usual > MAX_BLEED_THROUGH:
            raise ProfileError(
                plate,
                f"about {usual:.0%} of the signal of {source} is in the channel of {target} "
                f"(median of {len(strongest)} wells); expected at most {MAX_BLEED_THROUGH:.0%}, or "
                f"the share in [stains.{target}], such as "
                f"`bleed_from = {{ {source} = {usual:.2f} }}`",
            )


def _leave_out(result: PlateResult, settings: FluorescenceSettings) -> None:
    """Leave out the wells whose stains cannot be used, with the reason."""
    usual = {
        stain: median(
            [
                well.stains[stain].sharpness
                for well in result.wells.values()
                if stain in well.stains and not well.stains[stain].is_empty
            ]
        )
        for stain in settings.stains
    }
    kinds = {
        stain: Counter(
            well.stains[stain].kind for well in result.wells.values() if stain in well.stains
        ).most_common(1)[0][0]
        for stain in settings.stains
    }
    for well in result.wells.values():
        well.left_out = (
            _other_kind(well, kinds)
            or _reason_left_out(well, settings, usual)
            or _unstained_control(well, result.untreated)
        )
    out = [well for well in result.wells.values() if well.left_out]
    if len(out) > MAX_LEFT_OUT_SHARE * len(result.wells):
        raise ProfileError(
            result.plate_map.plate,
            f"{len(out)} of {len(result.wells)} wells cannot be used, such as {out[0].well}: "
            f"{out[0].left_out}; expected at most half",
        )


def _other_kind(well: WellResult, usual: Mapping[Stain, str]) -> str:
    """Return the stain whose planes differ in number, size or type from most wells, or no text."""
    for stain, numbers in well.stains.items():
        if numbers.kind != usual[stain]:
            return f"{stain}: {numbers.kind}; expected {usual[stain]}, as in most wells"
    return ""


def _reason_left_out(
    well: WellResult, settings: FluorescenceSettings, usual_sharpness: Mapping[Stain, float]
) -> str:
    """Return the reason why a well cannot be used, or an empty text."""
    for stain in settings.stains:
        if stain not in well.stains:
            return f"no usable image of the stain {stain}"
        numbers = well.stains[stain]
        if numbers.saturated_share > MAX_SATURATED_SHARE:
            return (
                f"{stain}: {numbers.saturated_share:.0%} of the stained pixels are saturated; "
                f"expected at most {MAX_SATURATED_SHARE:.0%}"
            )
        if not numbers.is_empty and (
            numbers.sharpness < MIN_RELATIVE_SHARPNESS * usual_sharpness[stain]
        ):
            return f"{stain}: out of focus compared with the other wells of the plate"
    if all(numbers.is_empty for numbers in well.stains.values()):
        return "no stain is above the background: dead and unstained tissue look alike"
    return ""


def _unstained_control(well: WellResult, untreated: Collection[str]) -> str:
    """Return the reason why an untreated well is no control, or an empty text.

    The mean of the untreated wells is 100 %, so that one without live stain would raise all others.
    """
    if well.well in untreated and well.stains[Stain.LIVE].is_empty:
        return "live: no signal above the background in an untreated well; expected live cells"
    return ""


def _add_viability(result: PlateResult, settings: FluorescenceSettings) -> None:
    """Add live shares and viability to the wells that are not left out."""
    signals = {
        name: WellSignals(
            well.stains[Stain.LIVE].intensity,
            well.stains[Stain.DEAD].intensity if Stain.DEAD in well.stains else None,
            well.stains[Stain.NUCLEI].intensity if Stain.NUCLEI in well.stains else None,
        )
        for name, well in result.wells.items()
        if not well.left_out
    }
    plate = result.plate_map.plate
    result.dead_weight = settings.dead_weight
    by_share = settings.viability is ViabilityFrom.LIVE_SHARE
    if settings.dead_weight is None and Stain.DEAD in settings.stains:
        try:
            result.dead_weight = estimate_dead_weight(signals, plate)
        except ProfileError:
            if by_share:
                raise
    values: dict[str, float | None] = {}
    for name, each in signals.items():
        share = None if result.dead_weight is None else each.live_share(result.dead_weight)
        result.wells[name].live_share = share
        values[name] = share if by_share else each.live
    for name, percent in viability_percent(values, result.untreated, plate).items():
        result.wells[name].viability_percent = percent
