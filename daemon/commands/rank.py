"""Commands that rank without the service: ``rank plate``, ``specimen`` and ``profiles``."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from daemon.commands.console import (
    ConfigOption,
    PlateArgument,
    SpecimenArgument,
    exit_if_refused,
    screen,
)
from schemas.forecast import ForecastFrom, MetricName

group = typer.Typer(
    help="Rank a plate, a specimen or a table of profiles.\n\nThe service is not needed.",
    no_args_is_help=True,
)

AuditOption = Annotated[
    bool,
    typer.Option("--audit", help="Also print the wells whose label in the plate map is in doubt."),
]


@group.command()
def plate(
    plate: PlateArgument,
    *,
    day: Annotated[
        int | None, typer.Option(help="Culture day to rank. Without it, the plate's readout day.")
    ] = None,
    final: Annotated[
        bool,
        typer.Option(
            "--final", help="Make the ranking final: images that are missing now stay missing."
        ),
    ] = False,
    method: Annotated[
        Literal["departure", "deterioration"] | None,
        typer.Option(
            help="Method of this plate, which later rankings keep; without it, the settings decide."
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            help="Digest of the calibration to use; implies --method deterioration. Without it, "
            "the newest calibration of the line."
        ),
    ] = None,
    audit: AuditOption = False,
    config: ConfigOption = None,
) -> None:
    """Rank one stored plate again and print its treatments.

    The treatment with the strongest effect comes first.
    """
    from daemon import logs
    from daemon.config import load_config
    from daemon.jobs import offline_ranking, ranking_tables
    from schemas.calibration import MethodRequest

    logs.install(None)
    if calibration is not None and method == "departure":
        raise typer.BadParameter("departure uses no calibration; expected deterioration")
    chosen = "deterioration" if calibration is not None else method
    ranking = offline_ranking.rank_plate_again(
        load_config(config),
        plate,
        day,
        final=final,
        request=None if chosen is None else MethodRequest(method=chosen, calibration=calibration),
    )
    screen.print(ranking_tables.treatments_table(ranking, ranking_tables.title_of(ranking)))
    if audit:
        screen.print(ranking_tables.label_doubts_table(ranking, ranking.plate))


@group.command()
def specimen(
    specimen: SpecimenArgument,
    config: ConfigOption = None,
) -> None:
    """Rank all stored plates of one specimen together.

    The treatments are printed, strongest effect first.
    """
    from daemon import logs
    from daemon.config import load_config
    from daemon.jobs import offline_ranking, ranking_tables

    logs.install(None)
    ranking = offline_ranking.rank_specimen_again(load_config(config), specimen)
    screen.print(ranking_tables.specimen_table(ranking))
    for note in ranking_tables.specimen_notes(ranking):
        screen.print(note)


@group.command()
def profiles(
    table: Annotated[
        Path,
        typer.Argument(help="Table of profiles, CSV or Parquet, with Metadata_ columns."),
    ],
    *,
    baseline_day: Annotated[
        int, typer.Option(help="Last culture day before the treatments took effect.")
    ],
    readout_day: Annotated[int, typer.Option(help="Culture day that is ranked.")],
    out: Annotated[
        Path,
        typer.Option(
            help="CSV file for the treatments; the wells go to <stem>-wells.csv beside it."
        ),
    ],
    assay: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of measured viability; plates are then ranked by deterioration."
        ),
    ] = None,
    forecaster: Annotated[
        str,
        typer.Option(
            help="Forecaster of the untreated state: ridge, kernel, drift, persistence, mean, "
            "or a folder with forecaster.onnx and forecaster.json."
        ),
    ] = "ridge",
    forecast_from: Annotated[
        ForecastFrom,
        typer.Option(
            help="Culture days in the forecast; last_day and one_step include days after dosing."
        ),
    ] = ForecastFrom.DOSING,
    metric: Annotated[
        MetricName, typer.Option(help="Metric of the departure from the forecast.")
    ] = MetricName.MAHALANOBIS,
    keep_unlike: Annotated[
        bool,
        typer.Option(
            "--keep-unlike",
            help="Keep pre-dose outliers: wells that differed from the other wells before dosing.",
        ),
    ] = False,
    audit: AuditOption = False,
) -> None:
    """Rank every plate of a table of profiles.

    No images and no store are needed.
    """
    from daemon import logs
    from daemon.jobs import offline_ranking, ranking_tables
    from daemon.wiring.departure import departure_settings

    logs.install(None)
    settings = departure_settings(
        forecaster, forecast_from, metric, leave_out_outliers=not keep_unlike
    )
    ranked = offline_ranking.rank_profile_table(
        table,
        baseline_day=baseline_day,
        readout_day=readout_day,
        out=out,
        settings=settings,
        assay=assay,
    )
    for part in ranking_tables.profile_notes(ranked, audit=audit):
        screen.print(part)
    exit_if_refused(list(ranked.refused.values()))
