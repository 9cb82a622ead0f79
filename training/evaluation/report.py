"""Report that compares encoders: one HTML file without other files, and a text table."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

import cv2
import numpy as np

from training.evaluation.charts import ChartLine, kill_map, line_chart, scatter_chart
from training.evaluation.plates import MIXED, EvaluationPlate, indices_of_kind
from training.evaluation.proxy_correlation import ProxyCorrelation
from training.evaluation.rows import EncoderRow
from training.evaluation.variants import VARIANTS

SECTIONS: Mapping[str, Mapping[str, str]] = {
    "Correlation of scores with true kill (Spearman)": {
        "uncalibrated_mixed": "uncalibrated, mixed",
        "uncalibrated_one_mechanism": "uncalibrated, one mechanism",
        "uncalibrated_phase_rim": "uncalibrated, shifted optics",
        "calibrated_mixed": "8 plates, mixed",
        "calibrated_one_mechanism": "8 plates, one mechanism",
        "calibrated_phase_rim": "8 plates, shifted optics",
    },
    "The same with embedding and measures": {
        "uncalibrated_both_mixed": "uncalibrated, mixed",
        "uncalibrated_both_one_mechanism": "uncalibrated, one mechanism",
        "uncalibrated_both_phase_rim": "uncalibrated, shifted optics",
        "calibrated_both_mixed": "8 plates, mixed",
        "calibrated_both_phase_rim": "8 plates, shifted optics",
        "deterioration_mixed": "service, encoder alone",
        "deterioration_both_mixed": "service, with measures",
    },
    "Influence of the embedding on rankings beside the measures": {
        "embedding_gain": "gain in correlation",
        "embedding_gain_low": "with 95 % confidence at least",
        "proposed_ranking_weight": "proposed ranking_weight",
    },
    "Three groups (balanced accuracy, chance 0.33)": {
        "probe_10": "probe, 10",
        "probe_20": "probe, 20",
        "probe_30": "probe, 30",
        "probe_all": "probe, all",
        "knn": "10 neighbours",
        "resnet18_10": "ResNet-18, 10",
        "resnet18_30": "ResNet-18, 30",
        "resnet18_all": "ResNet-18, all",
    },
    "Similarity and sensitivity": {
        "replicate_map": "replicate mAP",
        "same_well": "same well (AUC)",
        "plate_leakage": "plate leakage ↓",
        "dose_order": "dose order",
        "small_kills": "small kills (AUC)",
        "effective_rank": "effective rank",
        "ms_per_image": "ms per image ↓",
    },
    "Displacement of the embedding by a variant (1 = like another well) ↓": {
        f"variation_{name}": name for name in VARIANTS
    },
    "Retrieval of real spheroids from a variant (mean reciprocal rank)": {
        **{f"real_{name}": name for name in VARIANTS},
        "real": "mean",
    },
}
"""The metrics of each table, in order and with their titles; ↓: less is better."""

_BETTER_LESS = ("plate_leakage", "ms_per_image", *(f"variation_{name}" for name in VARIANTS))
_NEITHER = (
    "effective_rank",
    "proposed_ranking_weight",
    "resnet18_10",
    "resnet18_20",
    "resnet18_30",
    "resnet18_all",
)
_PICTURE_PX = 150

STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:1180px;padding:0 1rem;\
color:#1c2430}
h1{margin-bottom:0}h2{margin-top:2.2rem}
table{border-collapse:collapse;margin:.6rem 0;font-variant-numeric:tabular-nums;font-size:.86rem}
th,td{padding:.25rem .55rem;text-align:right;border-bottom:1px solid #dde3ea}
th:first-child,td:first-child{text-align:left}
thead th{vertical-align:bottom;max-width:7rem}
.best{font-weight:700;background:#e3f1e6}.wide{overflow-x:auto}
.pictures{display:flex;flex-wrap:wrap;gap:1.2rem}figure{margin:0}
figcaption{font-size:.82rem;color:#56606e;max-width:330px}
.hint{color:#56606e}svg text{font:11px system-ui,sans-serif;fill:#39424e}
"""


def format_number(name: str, value: float | None) -> str:
    """Return the value of a named metric as text; a dash if it is None or NaN."""
    if value is None or not np.isfinite(value):
        return "–"
    return (
        f"{value:.0f}"
        if name == "effective_rank"
        else f"{value:.1f}"
        if name == "ms_per_image"
        else f"{value:.3f}"
    )


def text_table(
    rows: Sequence[EncoderRow], correlations: Sequence[ProxyCorrelation], image_set: str
) -> str:
    """Return the metrics and proxy correlations of encoders on a named image set as plain text.

    The proposed ranking weights are at the end.
    """
    width = max(len(row.name) for row in rows)
    parts = [f"images: {image_set}"]
    for title, columns in SECTIONS.items():
        there = {
            key: head
            for key, head in columns.items()
            if any(row.numbers.get(key) is not None for row in rows)
        }
        if there:
            head = " | ".join([f"{'encoder':{width}}", *there.values()])
            body = [
                " | ".join(
                    [
                        f"{row.name:{width}}",
                        *(
                            f"{format_number(key, row.numbers.get(key)):>{len(name)}}"
                            for key, name in there.items()
                        ),
                    ]
                )
                for row in rows
            ]
            parts.append("\n".join([title, head, *body]))
    if correlations:
        lines = [
            f"{each.proxy:24} {each.target:20} {each.spearman:+.2f} ({each.encoders} encoders)"
            for each in correlations
        ]
        parts.append(
            "\n".join(["Correlation over encoders with the ranking quality (Spearman)", *lines])
        )
    if proposals := [row.weight_proposal for row in rows if row.weight_proposal]:
        parts.append("\n".join(proposals))
    return "\n\n".join(parts) + "\n"


def encoder_report_html(
    rows: Sequence[EncoderRow],
    correlations: Sequence[ProxyCorrelation],
    plates: Sequence[EvaluationPlate],
    image_set: str,
) -> str:
    """Return the HTML report of encoders from rows, correlations, plates and name of image set."""
    tables = "\n".join(_table(title, columns, rows) for title, columns in SECTIONS.items())
    charts = "\n".join(_charts(row) for row in rows)
    kinds = ", ".join(
        f"{len(list(indices_of_kind(plates, kind)))} {kind.replace('_', ' ')}"
        for kind in dict.fromkeys(plate.kind for plate in plates)
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Comparison of encoders</title><style>{STYLE}</style></head><body>
<h1>Comparison of encoders</h1>
<p class="hint">For research use only. {len(rows)} rows on {len(plates)} virtual plates \
({escape(kinds)}), which no training uses; image set {escape(image_set)}.
The best value of a column is bold; ↓: less is better.
docs/reference/evaluation.md defines every number.</p>
{tables}
{"".join(f"<p>{escape(row.weight_proposal)}</p>" for row in rows if row.weight_proposal)}
{_correlation_table(correlations)}
<h2>Probe and supervised baseline</h2>
{_probe_chart(rows)}
<h2>Wells in the embedding of each encoder</h2>
<p class="hint">Treated wells of the mixed plates. Left: principal components of the differences \
from untreated wells, coloured by true kill.
Middle: score without calibration. Right: percent predicted from plates of other seeds; the line \
is a correct prediction.</p>
{charts}
<h2>The variants</h2>
{_variant_strip(plates)}
</body></html>
"""


def _table(title: str, columns: Mapping[str, str], rows: Sequence[EncoderRow]) -> str:
    there = {
        key: head
        for key, head in columns.items()
        if any(row.numbers.get(key) is not None for row in rows)
    }
    if not there:
        return ""
    best = {key: _best(key, rows) for key in there}
    heads = "".join(f"<th>{escape(head)}</th>" for head in ("encoder", *there.values()))
    body = ""
    for row in rows:
        cells = ""
        for key in there:
            value = row.numbers.get(key)
            mark = ' class="best"' if value is not None and value == best[key] else ""
            cells += f"<td{mark}>{format_number(key, value)}</td>"
        body += f'<tr><td title="{escape(row.encoder_id)}">{escape(row.name)}</td>{cells}</tr>\n'
    return (
        f'<h2>{escape(title)}</h2>\n<div class="wide"><table><thead><tr>{heads}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _best(key: str, rows: Sequence[EncoderRow]) -> float | None:
    values = [value for row in rows if (value := row.numbers.get(key)) is not None]
    if key in _NEITHER or len(values) < 2:  # noqa: PLR2004 - the best of at least two
        return None
    return min(values) if key in _BETTER_LESS else max(values)


def _correlation_table(correlations: Sequence[ProxyCorrelation]) -> str:
    title = "<h2>Correlation of proxy metrics with the ranking quality</h2>"
    if not correlations:
        return f'{title}<p class="hint">At least four encoders are needed.</p>'
    targets = list(dict.fromkeys(each.target for each in correlations))
    found = {(each.proxy, each.target): each for each in correlations}
    body = ""
    for test in dict.fromkeys(each.proxy for each in correlations):
        cells = "".join(
            f"<td>{f'{found[test, target].spearman:+.2f}' if (test, target) in found else '–'}</td>"
            for target in targets
        )
        body += f"<tr><td>{escape(test)}</td>{cells}</tr>\n"
    heads = "".join(f"<th>{escape(target.replace('_', ', '))}</th>" for target in targets)
    count = max(each.encoders for each in correlations)
    hint = f'<p class="hint">Spearman\'s correlation over {count} encoders.</p>'
    return (
        f"{title}{hint}<table><thead><tr><th>metric</th>{heads}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def _probe_chart(rows: Sequence[EncoderRow]) -> str:
    ticks = ("10", "20", "30", "all")
    lines = [
        ChartLine(row.name, tuple(row.numbers.get(f"probe_{tick}") for tick in ticks))
        for row in rows
    ]
    learned = {
        tuple(row.numbers.get(f"resnet18_{tick}") for tick in ticks): row.name
        for row in rows
        if row.numbers.get("resnet18_all") is not None
    }
    for values, name in learned.items():
        lines.append(
            ChartLine(
                f"ResNet-18 on the images of {name}"
                if len(learned) > 1
                else "ResNet-18 from scratch",
                values,
                dashed=True,
            )
        )
    return line_chart(
        lines, ticks, across_name="examples of a class", up_name="balanced accuracy", chance=1 / 3
    )


def _charts(row: EncoderRow) -> str:
    points = row.points
    return (
        f'<h3>{escape(row.name)}</h3>\n<div class="pictures">'
        + kill_map(points.across, points.up, points.kill_percent)
        + scatter_chart(
            points.kill_percent,
            points.uncalibrated,
            across_name="true kill, %",
            up_name="score, untreated spreads",
        )
        + scatter_chart(
            points.kill_percent,
            points.calibrated,
            across_name="true kill, %",
            up_name="predicted, %",
            diagonal=True,
        )
        + "</div>"
    )


def _variant_strip(plates: Sequence[EvaluationPlate]) -> str:
    """Return HTML pictures of one well: the original and every variant."""
    plate = plates[next(indices_of_kind(plates, MIXED))]
    well = int(np.argmax(~plate.untreated))
    image, sharpest = plate.image(well, -1), int(plate.sharpest[well, -1])
    images = {"original": (image, sharpest)}
    images |= {
        name: change(image, sharpest, np.random.default_rng([0, place]))
        for place, (name, change) in enumerate(VARIANTS.items())
    }
    figures = ""
    for name, (shown, plane) in images.items():
        small = cv2.resize(
            shown.planes[plane], (_PICTURE_PX, _PICTURE_PX), interpolation=cv2.INTER_AREA
        )
        _, png = cv2.imencode(".png", (small >> 8).astype(np.uint8))
        source = f"data:image/png;base64,{base64.b64encode(png.tobytes()).decode()}"
        figures += (
            f'<figure><img alt="{escape(name)}" src="{source}">'
            f"<figcaption>{escape(name)}</figcaption></figure>"
        )
    return (
        f'<p class="hint">{escape(plate.name)} {escape(plate.wells[well])}, day 10.</p>'
        f'<div class="pictures">{figures}</div>'
    )
