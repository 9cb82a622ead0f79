"""Order of treatments by score against their true kill, on virtual plates of one mechanism each and of all mechanisms together.

    python benchmarks/one_mechanism.py --seeds 5

Images are rendered, judged, embedded with the default encoder and ranked by the same functions as in the service.
"""

import argparse
import statistics
import time

import numpy as np
import numpy.typing as npt
import structlog
from scipy.stats import spearmanr

from acquisition.quality import assess
from acquisition.virtual_microscope import VirtualMicroscope, microscopes
from acquisition.virtual_plate import DOSED_ON_DAY, READOUT_DAY, Layout, Mechanism, WellPlan
from inference.bundle import load_bundle
from inference.onnx_encoder import OnnxEncoder
from inference.ports import Encoder
from inference.ranking import rank_plate
from schemas.ranking import TreatmentTable
from schemas.trajectory import Trajectories
from schemas.well_image import VisitKey, WellImage

DAYS = (DOSED_ON_DAY, READOUT_DAY)
"""Of the days before dosing the forecast takes the last, so that the others are not rendered."""


def embed_plate(scope: VirtualMicroscope, encoder: Encoder) -> Trajectories:
    """Look at every well on each of the days and embed what is seen."""
    plans = scope.plate.wells
    features = np.array([[_embed(scope, encoder, plan, day) for day in DAYS] for plan in plans], dtype=np.float64)
    return Trajectories(
        plate=scope.plate.name,
        wells=tuple(plan.well for plan in plans),
        groups=tuple(plan.group for plan in plans),
        treatments=tuple(plan.treatment for plan in plans),
        days=DAYS,
        features=features,
        feature_names=tuple(f"embedding_{number}" for number in range(features.shape[2])),
        encoder_id=encoder.encoder_id,
    )


def _embed(scope: VirtualMicroscope, encoder: Encoder, plan: WellPlan, day: int) -> npt.NDArray[np.float32]:
    counts = scope.look(plan, day).planes
    planes = (counts.astype(np.uint32) * 65535 // scope.bench.white).astype(np.uint16)
    image = WellImage(VisitKey(scope.plate.name, plan.well, f"day{day:02d}"), day, None, (), planes, scope.um_per_px, complete=True)
    return encoder.embed(image, assess(planes).sharpest_plane)


def agreement(scope: VirtualMicroscope, table: TreatmentTable) -> tuple[float, float]:
    """Return Spearman's correlation of score and true kill, over treatments and over treated wells."""
    kill = {plan.well: plan.kill(READOUT_DAY) for plan in scope.plate.wells}
    treatments = [(row.score, statistics.fmean(kill[well] for well in row.wells)) for row in table.treatments]
    wells = [(row.score, kill[row.well]) for row in table.wells if row.score is not None and row.efficacy_rank is not None]
    return _spearman(treatments), _spearman(wells)


def _spearman(pairs: list[tuple[float, float]]) -> float:
    scores, kills = zip(*pairs, strict=True)
    return float(spearmanr(scores, kills).statistic)


def main() -> None:
    """Print one row a mechanism."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5, help="plates a mechanism")
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--layout", type=Layout, default=Layout.SCREEN, choices=list(Layout))
    parser.add_argument("--size", type=int, default=512, help="pixels a side")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(30))
    started = time.perf_counter()
    encoder = OnnxEncoder(load_bundle("default"), intra_op_threads=1)
    print(f"{'mechanism':14} {'median':>7} {'least':>7} {'wells':>7}  over treatments, of each seed")
    for mechanism in (*Mechanism, None):
        results = []
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            (scope,) = microscopes(1, seed, options.size, mechanism=mechanism, layout=options.layout)
            table = rank_plate(
                embed_plate(scope, encoder), dosing_day=DOSED_ON_DAY, readout_day=READOUT_DAY, seed=seed, has_positions=True
            )
            results.append(agreement(scope, table))
        over_treatments, over_wells = zip(*results, strict=True)
        each = " ".join(f"{value:.3f}" for value in over_treatments)
        name = mechanism or "mixed"
        print(f"{name:14} {statistics.median(over_treatments):7.3f} {min(over_treatments):7.3f} {statistics.median(over_wells):7.3f}  {each}", flush=True)
    print(f"{options.seeds} plates a mechanism, {len(DAYS)} days of {options.size}² px, {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
