"""Rules for plain technical English: ``python -m tests.prose FILE…`` prints each hit.

The rules find frequent patterns only. A text without hits can still be hard to read.
"""

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """The places where a sentence can be."""

    FIRST_LINE = "first line of a docstring"
    DOCSTRING = "docstring"
    COMMENT = "comment"
    MESSAGE = "string literal"
    TEST_NAME = "test name"
    PAGE = "page"


@dataclass(frozen=True)
class Sentence:
    """A line of prose and its place."""

    path: Path
    line: int
    kind: Kind
    text: str


@dataclass(frozen=True)
class Hit:
    """A sentence that breaks a rule."""

    sentence: Sentence
    rule: str

    def __str__(self) -> str:
        return f"{self.sentence.path}:{self.sentence.line}: {self.rule}: {self.sentence.text[:120]}"


MOST_WORDS = 25
"""Longest first line of a docstring."""

QUESTION_WORD = re.compile(
    r"^(what|how|where|when|whether|which|who|why|all that|that|such|so|do so|and|nor|or|but|"
    r"as (it|they|the|above|before))\b",
    re.IGNORECASE,
)
"""A first line that starts so has no subject, or continues another sentence."""

WHAT_PHRASE = re.compile(
    r"\b(return|yield|print|keep|write|say|tell|show|open|count|raise|read|know|hold|give|get|see|"
    r"use|compare|check|find|name|learn|make|take)s? what\b"
    r"(?! (to|many|much|long|often)\b)|"
    r"\b(and|of|by|for|from|with|in|on|to|beside|than|is|are) what (?!to\b)|"
    r"\b(return|say|tell)s? (how|who|where) (?!to\b)",
    re.IGNORECASE,
)
"""A clause with "what" in place of a noun."""

ODD_WORDS: dict[str, str] = {
    r"wish(es|ed)?": "imaging request, request, requested",
    r"fellows?": "other wells",
    r"nought": "zero",
    r"ways? to die": "death mechanism",
    r"mended|mends?": "repaired, corrected",
    r"(put|puts|putting) aside": "quarantined, set aside",
    r"anew": "again",
    r"(is|are|be|was|were) told": "is reported, is logged",
    r"told (with|by|of|from)": "reported with",
    r"tells? of": "reports",
    r"stands? (beside|in for|in its|in the|there|as it is)": "is in, is reported with",
    r"stood": "was",
    r"taken along|takes? along": "included",
    r"in hand": "being processed",
    r"(goes|go|gone|went) on": "continues",
    r"is said|are said|said of": "is reported",
    r"unlike (its|their)": "different from",
    r"made whole": "completed",
    r"(held|holds?|hold) (to|against|beside)": "compared with",
    r"(is|are) (gone|looked) (to|at)": "is visited, is examined",
    r"looks? (after|like it)|looked after": "monitor",
    r"foresee[sn]?|foresaw|foresight": "predict, prediction",
    r"speaks? (for|of)": "applies to",
    r"spelled": "formatted",
    r"in good order": "valid",
    r"nobody|whoever|somebody": "no one; name the actor",
    r"thrice": "three times",
    r"may not be had|can be had|is had": "is available",
    r"mounted anew": "mounted again",
    r"lies? (in it|there|beside)": "is in",
    r"(is|was|are) worth": "performance, score",
    r"ours|theirs": "name the owner",
    r"the one that counts|(that|which) counts?": "the selected one",
    r"counts? (for|as much)": "has the weight of",
    r"left as (it|they) (is|are)": "unchanged",
    r"stays? as (it|they) (is|are)": "is unchanged",
    r"by the way of": "with the procedure of",
    r"comes? (to be|of)": "results from",
    r"on its (way|own feet)": "name the step",
    r"befell|befalls?|hither|thither|whence|thereof|wherein|whereby": "use a common word",
}
"""Words and phrases that are not standard terms, with the terms to use."""

_ODD = re.compile(r"\b(" + "|".join(ODD_WORDS) + r")\b", re.IGNORECASE)
_CODE = re.compile(r"`+[^`]*`+")
_SPECIAL_COMMENT = re.compile(r"#\s*(noqa|type:|!|pragma|fmt:)")
_FEWEST_WORDS = 3


def sentences(path: Path) -> Iterator[Sentence]:
    """Yield every line of prose in a Python or Markdown file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from _page(path, text)
    else:
        yield from _module(path, text)


def hits(path: Path) -> Iterator[Hit]:
    """Yield each sentence of a file that breaks a rule."""
    for sentence in sentences(path):
        plain = _CODE.sub("X", sentence.text)
        if sentence.kind is Kind.FIRST_LINE:
            if QUESTION_WORD.search(plain):
                yield Hit(sentence, "starts without a subject")
            if len(plain.split()) > MOST_WORDS:
                yield Hit(sentence, f"more than {MOST_WORDS} words")
        if WHAT_PHRASE.search(plain):
            yield Hit(sentence, 'a clause with "what" or "how" in place of a noun')
        if odd := _ODD.search(plain):
            yield Hit(sentence, f'"{odd.group()}"')


def _page(path: Path, text: str) -> Iterator[Sentence]:
    is_code = False
    for number, line in enumerate(text.splitlines(), 1):
        is_code ^= line.startswith("```")
        if not is_code and not line.startswith("    ") and line.strip():
            yield Sentence(path, number, Kind.PAGE, line.strip())


def _module(path: Path, text: str) -> Iterator[Sentence]:
    docstrings = set()
    for node in ast.walk(ast.parse(text)):
        for constant in _documentation(node):
            docstrings.add(id(constant))
            first, *rest = ast.literal_eval(constant).strip().splitlines()
            yield Sentence(path, constant.lineno, Kind.FIRST_LINE, first.strip())
            for offset, line in enumerate(rest, 1):
                if line.strip():
                    yield Sentence(path, constant.lineno + offset, Kind.DOCSTRING, line.strip())
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield Sentence(path, node.lineno, Kind.TEST_NAME, node.name.replace("_", " "))
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            is_message = id(node) not in docstrings and len(node.value.split()) >= _FEWEST_WORDS
            if is_message and "\n" not in node.value:
                yield Sentence(path, node.lineno, Kind.MESSAGE, node.value)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and not _SPECIAL_COMMENT.match(token.string):
            yield Sentence(path, token.start[0], Kind.COMMENT, token.string.lstrip("#: "))


def _documentation(node: ast.AST) -> Iterator[ast.Constant]:
    """Yield the docstring of a node, and the strings that document the constants in its body."""
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return
    for statement in node.body:
        match statement:
            case ast.Expr(value=ast.Constant(value=str(text)) as constant) if text.strip():
                yield constant


def main() -> int:
    """Print the hits of the files named on the command line; return 1 if there are any."""
    found = [hit for name in sys.argv[1:] for hit in hits(Path(name))]
    for hit in found:
        print(hit)  # noqa: T201 - the output of the command
    print(f"{len(found)} hits", file=sys.stderr)  # noqa: T201 - as above
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
