"""Cases of the rules for plain technical English."""

from pathlib import Path

import pytest

from tests.prose import Kind, hits, sentences

PLAIN = "Return the area of the tissue in µm²."


def rules_broken(folder: Path, text: str, name: str = "module.py") -> list[str]:
    """Return the rules that a file with this text breaks."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return [hit.rule for hit in hits(path)]


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        ("What the store holds.", "starts without a subject"),
        ("How long it waits.", "starts without a subject"),
        ("Return what is stored.", 'a clause with "what" or "how" in place of a noun'),
        ("The limits of the wished images.", '"wished"'),
        ("One " * 26, "more than 25 words"),
    ],
)
def test_a_first_line_that_breaks_a_rule_is_found(tmp_path: Path, line: str, rule: str) -> None:
    assert rule in rules_broken(tmp_path, f'"""{line.strip()}"""\n')


def test_comments_messages_test_names_and_pages_are_checked(tmp_path: Path) -> None:
    assert rules_broken(tmp_path, f'"""{PLAIN}"""\n\nX = 1  # taken anew\n') == ['"anew"']
    assert rules_broken(tmp_path, f'"""{PLAIN}"""\n\nX = "the wells are read anew"\n') == ['"anew"']
    text = f'"""{PLAIN}"""\n\n\ndef test_wells_are_read_anew() -> None: ...\n'
    assert rules_broken(tmp_path, text) == ['"anew"']
    assert rules_broken(tmp_path, "# Title\n\nIt is read anew.\n", "page.md") == ['"anew"']


def test_code_in_backquotes_and_code_blocks_are_not_prose(tmp_path: Path) -> None:
    assert rules_broken(tmp_path, f'"""{PLAIN} ``wish``"""\n') == []
    assert rules_broken(tmp_path, "# Title\n\n    anew = 1\n\n```\nanew\n```\n", "page.md") == []


def test_the_string_below_a_constant_is_a_docstring(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(f'"""{PLAIN}"""\n\nX = 1\n"""What it is."""\n', encoding="utf-8")
    kinds = [sentence.kind for sentence in sentences(path)]
    assert kinds == [Kind.FIRST_LINE, Kind.FIRST_LINE]
