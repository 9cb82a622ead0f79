"""The property of a well that training objectives use as its label; this module loads no torch."""

from enum import StrEnum


class LabelKind(StrEnum):
    """The property of a well that objectives use as its label."""

    GROUP = "group"
    TREATMENT = "treatment"  # all untreated wells share one label
