"""Rank plates of simulated laboratories, with one renderer and one mechanism left out of choices.

    python -m benchmarks.laboratories --laboratories 40 --log docs/results/laboratories-log.csv

The table is that of ``spherorank evaluate --laboratories``, for the encoders of this project. It
gives Spearman's correlation of the score of the service with the true kill over treated wells: the
mean over laboratories, its 95 % bootstrap interval over laboratories, and the laboratory with the
lowest value. ``assays`` is the number of assay plates of the tested laboratory: ``none`` is the
uncalibrated departure, and ``other laboratories`` a calibration on one plate of each training
laboratory. The columns are groups of wells: all treated wells (``mixed``), those with hidden
mechanisms, those of the mechanism that was left out, and those of each mechanism. A second table
gives the gain of embedding and measures over the better of both.

The reading ``default projected`` is the embedding of the default, projected by a matrix that was
trained together with its forecaster on the untreated wells of laboratories with other renderers.

Each row of the table is appended to the log. Rendered and embedded plates are cached.
"""

import argparse
from pathlib import Path

import structlog

from benchmarks.laboratory_bundles import encoder_bundles
from benchmarks.observed_plates import ROOT
from daemon.code_version import code_version
from simulation.kinds import RendererName
from training.evaluation.laboratories import (
    LaboratorySet,
    append_log,
    evaluate_laboratories,
    fusion_table,
    log_lines,
    observe_laboratories,
    run_properties,
    summarise,
    text_table,
)
from training.evaluation.laboratory_plates import StageTimes
from training.evaluation.projected_laboratories import evaluate_projection

PROJECTED = "default"
"""The encoder whose embedding is also evaluated as projected with its forecaster."""


def parse_options() -> argparse.Namespace:
    """Return the options of the command line."""
    default = LaboratorySet()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".cache" / "laboratories", help="cache")
    parser.add_argument("--laboratories", type=int, default=default.laboratories)
    parser.add_argument("--seed", type=int, default=default.first_seed, help="of the first")
    parser.add_argument(
        "--renderers", nargs="+", type=RendererName, default=default.renderers, help="in turn"
    )
    parser.add_argument("--plates", type=int, default=default.plates, help="of each laboratory")
    parser.add_argument("--assays", nargs="+", type=int, default=default.assays, help="plates")
    parser.add_argument("--encoders", nargs="*", default=["default", "imagenet", "random"])
    parser.add_argument("--wells", type=int, default=default.wells, help="of each plate")
    parser.add_argument("--size", type=int, default=default.size_px, help="of an image in pixels")
    parser.add_argument("--log", type=Path, help="CSV file to which the results are appended")
    return parser.parse_args()


def main() -> None:
    """Test every laboratory, print the table and append it to the log."""
    options = parse_options()
    chosen = LaboratorySet(
        laboratories=options.laboratories,
        first_seed=options.seed,
        renderers=tuple(options.renderers),
        plates=options.plates,
        assays=tuple(options.assays),
        wells=options.wells,
        size_px=options.size,
    )
    chosen.check()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(20))
    times = StageTimes()
    bundles = encoder_bundles(options.out)
    results = evaluate_laboratories(
        {name: bundles[name] for name in options.encoders}, chosen, options.out, times=times
    )
    if PROJECTED in options.encoders:
        bundle = bundles[PROJECTED]
        observed = observe_laboratories({PROJECTED: bundle}, chosen, options.out, times)
        with times.stage("projection"):
            results += evaluate_projection(PROJECTED, bundle, *observed, chosen.assays)
    summaries = summarise(results)
    print(text_table(summaries), fusion_table(results), f"time: {times}", sep="\n")
    if options.log:
        append_log(options.log, log_lines(summaries, run_properties(chosen, code_version())))


if __name__ == "__main__":
    main()
