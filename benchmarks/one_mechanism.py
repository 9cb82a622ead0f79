"""Order of treatments by score against their true kill, on virtual plates of one mechanism each and of all mechanisms together.

    python benchmarks/one_mechanism.py --seeds 5
    python benchmarks/one_mechanism.py --seeds 5 --weights 0 0.1 0.2 0.3 0.5 1

Images are rendered once, judged, embedded with the default encoder, segmented, measured and ranked by the same functions as in the service, by the
embedding, by measures and by both. In ``both`` the embedding has the weight of its bundle, or each of those given.
"""

import argparse
import statistics
import time

import numpy as np
import structlog
from scipy.stats import spearmanr

from acquisition.quality import assess
from acquisition.virtual_microscope import VirtualMicroscope, microscopes
from acquisition.virtual_plate import DOSED_ON_DAY, READOUT_DAY, Layout, Mechanism, WellPlan
from inference.assemble import assemble
from inference.bundle import load_bundle
from inference.measures import measure
from inference.onnx_encoder import OnnxEncoder
from inference.ports import Encoder, Segmenter
from inference.ranking import rank_plate
from inference.segmentation import ClassicalSegmenter
from schemas.observation import Observation
from schemas.plate_map import PlateMap, WellEntry
from schemas.ranking import TreatmentTable
from schemas.trajectory import Representation
from schemas.well_image import VisitKey, WellImage

DAYS = (DOSED_ON_DAY, READOUT_DAY)
"""Of the days before dosing the forecast takes the last, so that the others are not rendered."""
Agreement = tuple[float, float]  # Spearman's correlation over treatments, over wells


def observe(scope: VirtualMicroscope, plan: WellPlan, day: int, encoder: Encoder, segmenter: Segmenter) -> Observation:
    """Look at a well on a day, embed and measure what is seen."""
    counts = scope.look(plan, day).planes
    planes = (counts.astype(np.uint32) * 65535 // scope.bench.white).astype(np.uint16)
    key, taken_at = VisitKey(scope.plate.name, plan.well, f"day{day:02d}"), scope.plate.taken_at(plan, day)
    image = WellImage(key, day, taken_at, (), planes, scope.um_per_px, complete=True)
    quality = assess(planes)
    sharpest = planes[quality.sharpest_plane]
    return Observation(
        key=key,
        digest=image.digest,
        day=day,
        taken_at=taken_at,
        received_at=taken_at,
        complete=True,
        files=(),
        um_per_px=scope.um_per_px,
        quality=quality,
        encoder_id=encoder.encoder_id,
        embedding=encoder.embed(image, quality.sharpest_plane),
        measures=measure(sharpest, segmenter.segment(sharpest, scope.um_per_px), scope.um_per_px),
    )


def rank(scope: VirtualMicroscope, observations: list[Observation], representation: Representation, embedding_weight: float) -> TreatmentTable:
    """Rank a plate by what was seen of it."""
    plate, entries = scope.plate, [WellEntry(well=plan.well, group=plan.group, treatment=plan.treatment) for plan in scope.plate.wells]
    plate_map = PlateMap(plate=plate.name, seeded_at=plate.seeded_at, dosed_at=plate.dosed_at, entries=tuple(entries))
    seen = assemble(observations, plate_map, through_day=READOUT_DAY, representation=representation, embedding_weight=embedding_weight)
    return rank_plate(seen.trajectories, dosing_day=DOSED_ON_DAY, readout_day=READOUT_DAY, seed=plate.seed)


def agreement(scope: VirtualMicroscope, table: TreatmentTable) -> Agreement:
    """Return Spearman's correlation of score and true kill, over treatments and over treated wells."""
    kill = {plan.well: plan.kill(READOUT_DAY) for plan in scope.plate.wells}
    treatments = [(row.score, statistics.fmean(kill[well] for well in row.wells)) for row in table.treatments]
    wells = [(row.score, kill[row.well]) for row in table.wells if row.score is not None and row.efficacy_rank is not None]
    return _spearman(treatments), _spearman(wells)


def _spearman(pairs: list[tuple[float, float]]) -> float:
    scores, kills = zip(*pairs, strict=True)
    return float(spearmanr(scores, kills).statistic)


def print_row(mechanism: str, name: str, results: list[Agreement]) -> None:
    """Print one row of the table."""
    over_treatments, over_wells = zip(*results, strict=True)
    each = " ".join(f"{value:.3f}" for value in over_treatments)
    print(
        f"{mechanism:14} {name:10} {statistics.median(over_treatments):7.3f} {min(over_treatments):7.3f} {statistics.median(over_wells):7.3f}  {each}",
        flush=True,
    )


def main() -> None:
    """Print one row a mechanism and representation, and the means over all plates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="plates a mechanism")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--layout", type=Layout, default=Layout.SCREEN, choices=list(Layout))
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    parser.add_argument("--weights", type=float, nargs="+", help="of the embedding beside measures, for rows of `both`; default: the bundle's")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    started = time.perf_counter()
    bundle = load_bundle("default")
    encoder, segmenter = OnnxEncoder(bundle, intra_op_threads=1), ClassicalSegmenter()
    compared: list[tuple[Representation, float]] = [("embedding", 1.0), ("measures", 0.0)]
    compared += [("both", weight) for weight in options.weights or [bundle.card.ranking_weight]]
    rows = {representation: f"{representation[0]} {representation[1]:g}" if representation[0] == "both" else representation[0] for representation in compared}
    overall: dict[str, list[Agreement]] = {name: [] for name in rows.values()}
    print(f"{'mechanism':14} {'compared':10} {'median':>7} {'least':>7} {'wells':>7}  over treatments, of each seed")
    for mechanism in (*Mechanism, None):
        results: dict[str, list[Agreement]] = {name: [] for name in rows.values()}
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            (scope,) = microscopes(1, seed, options.size, mechanism=mechanism, layout=options.layout)
            observations = [observe(scope, plan, day, encoder, segmenter) for plan in scope.plate.wells for day in DAYS]
            for (representation, weight), name in rows.items():
                results[name].append(agreement(scope, rank(scope, observations, representation, weight)))
        for name, of_mechanism in results.items():
            print_row(mechanism or "mixed", name, of_mechanism)
            overall[name] += of_mechanism
    for name, of_all in overall.items():
        over_treatments, over_wells = (statistics.fmean(values) for values in zip(*of_all, strict=True))
        print(f"{'mean of all':14} {name:10} {over_treatments:7.4f} over treatments, {over_wells:.4f} over wells")
    print(f"{options.seeds} plates a mechanism, {len(DAYS)} days of {options.size}² px, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
