"""Text of a report about predicted deterioration: wells and the calibration."""

from inference.deterioration.calibration_limits import calibration_limits
from schemas.calibration import CalibrationCard
from schemas.ranking import Ranking, WellRank

SCORE_MEANINGS = {
    "departure": "0 = like untreated; larger = further towards deterioration.",
    "deterioration": (
        "The score is the mean predicted deterioration of the wells: 0 = like untreated, "
        "100 = dead. For exploded wells 100 is assumed. An interval below 0 is a viability above "
        "that of the untreated wells."
    ),
}
"""Explanation of a score, by ranking method."""
HIGHEST_SCORES = {"departure": None, "deterioration": 100.0}
"""Largest possible score, by ranking method; None if there is no limit."""


def format_deterioration(row: WellRank) -> str:
    """Return a WellRank's predicted deterioration and interval as text; empty without one."""
    if row.deterioration_percent is None:
        return ""
    if row.deterioration_assumed:
        return f"deterioration {row.deterioration_percent:.0f} % (assumed)"
    known = row.deterioration_low is not None and row.deterioration_high is not None
    interval = f" ({row.deterioration_low:.0f} … {row.deterioration_high:.0f})" if known else ""
    prior = ", driven by the prior" if row.percent_basis == "prior" else ""
    return f"deterioration {row.deterioration_percent:.0f} %{interval}{prior}"


def deterioration_facts(ranking: Ranking) -> dict[str, str]:
    """Return the calibration and drift of a ranking as text, by name; empty without one."""
    if ranking.calibration is None:
        return {}
    used = ranking.method == "deterioration"
    facts = {"Calibration" if used else "Calibration (not used)": _calibration(ranking.calibration)}
    if used and (limits := calibration_limits(ranking.calibration)):
        facts["Limits of the calibration"] = " ".join(limits)
    if ranking.drift is not None:
        where = "outside" if ranking.drift.outside else "within"
        facts["Drift"] = (
            f"{ranking.drift.distance:.1f} spreads from the calibration plates; "
            f"{ranking.drift.percentile:.0f} % of these are closer to the others: "
            f"{where} their range"
        )
    return facts


def _calibration(card: CalibrationCard) -> str:
    """Return model, assay plates, error and digest of a calibration as text."""
    features = "embedding and measures" if card.representation == "both" else card.representation
    plates = "1 assay plate" if len(card.plates) == 1 else f"{len(card.plates)} assay plates"
    parts = [
        f"{card.model} on {features}",
        f"{plates} ({', '.join(card.plates)}), {card.wells} wells",
    ]
    if card.mean_error_points is not None and card.untreated_error_points is not None:
        left_out = "plates" if len(card.plates) > 1 else "treatments"
        parts.append(
            f"mean error on {left_out} left out {card.mean_error_points:.1f} points "
            f"({card.untreated_error_points:.1f} without images)"
        )
    if card.treated_error_points is not None:
        parts.append(f"of treated wells {card.treated_error_points:.1f} points")
    if card.spearman is not None and card.worst_spearman is not None:
        parts.append(f"Spearman {card.spearman:.2f} (worst plate {card.worst_spearman:.2f})")
    if card.percent_low is not None and card.percent_high is not None:
        parts.append(f"measured deterioration {card.percent_low:.0f} to {card.percent_high:.0f} %")
    return "; ".join([*parts, f"digest {card.digest}"])
