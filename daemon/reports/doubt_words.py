"""Doubts about the outline of the tissue, in the words of the reports."""

from collections.abc import Iterable

from schemas.tissue import Unsure

DOUBT_WORDS = {
    Unsure.FAINT: "tissue hardly darker than the background",
    Unsure.BLURRED: "edge of the tissue out of focus",
    Unsure.CUT: "tissue cut by the border of the image",
    Unsure.OTHER_OBJECT: "another large object in the field",
    Unsure.UNEVEN: "uneven light",
    Unsure.BRIGHT: "tissue brighter than its ground",
    Unsure.NO_BACKGROUND: "no background in view: image refused",
}
"""Description of each doubt."""

DOUBT_HINT = (
    "Outline in doubt: SpheroRank is not sure where the tissue ends. The measures are the best "
    "estimate; compare the orange outline with the image before you use them. A refused image has "
    "no measures."
)
"""Explanation of doubts, for a lab scientist."""


def format_doubts(doubts: Iterable[Unsure]) -> str:
    """Return the descriptions of doubts as plain text, separated by commas."""
    return ", ".join(DOUBT_WORDS[each] for each in doubts)
