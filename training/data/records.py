"""Records of well images: the known facts of an image, in words and as numbers.

A record is a list of short sentences such as "day 10", "viability 40 percent" and "size very low".
An unknown fact has no sentence. Treatments and assay values are left out unless they are allowed.
This module loads no torch.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from schemas.plate_map import Group
from training.data.crops import PlateCrops

FINDINGS = (
    "size",
    "roundness",
    "solidity",
    "outline roughness",
    "darkness",
    "contrast",
    "fine grain",
    "coarse grain",
    "core darkness",
    "edge darkness",
    "debris",
)
"""Name of each of the ranked measures in a record, in their order."""
LEVELS = ("extremely low", "very low", "low", "medium", "high", "very high", "extremely high")
"""Words for a measure that is −3 … 3 standard deviations from the mean of the training images."""
HIGHEST_LEVEL = 3
PERCENT_STEP = 10
"""Step to which an assay value is rounded."""
PADDING, OTHER_WORD = 0, 1
"""Word numbers of the places after the end of a record, and of a word outside the vocabulary."""
RESERVED = 2
DAY_UNIT, PERCENT_UNIT = 10.0, 100.0
"""Units of days and percentages among the numbers of a record."""


@dataclass(frozen=True)
class RecordContent:
    """The facts that a record may contain besides the day and the measures."""

    treatment: bool = False  # compounds and doses, or that the well is untreated
    assay: bool = False  # the viability of the readout day
    vocabulary: int = 512  # size of the vocabulary; rarer words count as one word

    @property
    def number_count(self) -> int:
        """Length of the vector of numbers of a record."""
        facts = 2 + len(FINDINGS)
        return 2 * facts + (self.vocabulary if self.treatment else 0)


@dataclass(frozen=True)
class ImageRecord:
    """The known facts of one well image that its record may contain."""

    day: int = 0  # culture day; 0 if unknown
    treatment: str = ""  # such as "treated with gemcitabine:1 uM"; "" if unknown or not allowed
    percent: int | None = None  # viability, rounded to PERCENT_STEP
    levels: tuple[int, ...] = ()  # of each measure, −3 … 3; () if unknown

    @property
    def text(self) -> str:
        """The record in words, with a full stop after each sentence but the last."""
        sentences = [f"day {self.day}"] if self.day else []
        sentences += [self.treatment] if self.treatment else []
        sentences += [] if self.percent is None else [f"viability {self.percent} percent"]
        if self.levels:
            sentences += [
                f"{name} {LEVELS[level + HIGHEST_LEVEL]}"
                for name, level in zip(FINDINGS, self.levels, strict=True)
            ]
        return ". ".join(sentences)

    @property
    def facts(self) -> list[float | None]:
        """The numbers behind the words, each about −3 … 3; None if unknown."""
        levels: Sequence[int | None] = self.levels or (None,) * len(FINDINGS)
        return [
            self.day / DAY_UNIT if self.day else None,
            None if self.percent is None else self.percent / PERCENT_UNIT,
            *levels,
        ]


def make_records(
    plates: Sequence[PlateCrops], measures: npt.NDArray[np.float32], content: RecordContent
) -> list[ImageRecord]:
    """Return the ImageRecord of each image of all plates.

    Parameters
    ----------
    measures
        (n, M) standardised measures of the n images; NaN if unknown.
    content
        The facts that the records may contain.
    """
    records: list[ImageRecord] = []
    for plate in plates:
        viability = plate.viability_percent if content.assay else None
        for row in range(len(plate)):
            found = measures[len(records)]
            records.append(
                ImageRecord(
                    int(plate.days[row]),
                    _treatment(plate.groups[row], plate.treatments[row], content),
                    _percent(np.nan if viability is None else viability[row]),
                    _levels(found) if np.isfinite(found).all() else (),
                )
            )
    return records


def _treatment(group: str, treatment: str, content: RecordContent) -> str:
    """Return the sentence of the treatment of a well; "" if it is unknown or not allowed."""
    if not content.treatment or not group:
        return ""
    is_treated = group not in (Group.UNTREATED, Group.BLANK)
    return f"treated with {treatment}" if is_treated else f"well {group}"


def _percent(viability: float) -> int | None:
    return PERCENT_STEP * round(viability / PERCENT_STEP) if np.isfinite(viability) else None


def _levels(measures: npt.NDArray[np.float32]) -> tuple[int, ...]:
    return tuple(int(each) for each in measures.round().clip(-HIGHEST_LEVEL, HIGHEST_LEVEL))


def split_words(text: str) -> list[str]:
    """Return the words of a text in lower case, without a full stop at the end of a word."""
    return [word.rstrip(".") for word in re.findall(r"[^\s:+,]+", text.casefold())]


@dataclass(frozen=True)
class RecordEncoder:
    """The vocabulary of the training records, which numbers the words of any record."""

    content: RecordContent
    vocabulary: tuple[str, ...]

    @classmethod
    def of(cls, records: Sequence[ImageRecord], content: RecordContent) -> "RecordEncoder":
        """Return an encoder with the most frequent words of the training records."""
        counts = Counter(word for record in records for word in split_words(record.text))
        frequent = sorted(counts, key=lambda word: (-counts[word], word))
        return cls(content, tuple(frequent[: content.vocabulary - RESERVED]))

    def words(self, records: Sequence[ImageRecord]) -> npt.NDArray[np.int64]:
        """Return the word numbers of records, (n, L), padded to the longest with PADDING."""
        numbers = [self._number(record.text) for record in records]
        table = np.full((len(records), max(map(len, numbers), default=0)), PADDING, np.int64)
        for row, found in enumerate(numbers):
            table[row, : len(found)] = found
        return table

    def numbers(self, records: Sequence[ImageRecord]) -> npt.NDArray[np.float32]:
        """Return the facts of records as numbers, (n, ``content.number_count``).

        These are the facts with 0 for an unknown one, then 1 for each known and 0 for each unknown
        fact, then, if treatments are allowed, 1 for each word of the treatment.
        """
        table = np.zeros((len(records), self.content.number_count), np.float32)
        for row, record in enumerate(records):
            facts = record.facts
            table[row, : len(facts)] = [fact or 0 for fact in facts]
            table[row, len(facts) : 2 * len(facts)] = [fact is not None for fact in facts]
            table[row, [2 * len(facts) + word for word in self._number(record.treatment)]] = 1
        return table

    @cached_property
    def _places(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.vocabulary, start=RESERVED)}

    def _number(self, text: str) -> list[int]:
        return [self._places.get(word, OTHER_WORD) for word in split_words(text)]
