"""Differences between two versions of a plate map, as text."""

from datetime import time
from typing import Any

import pytest

from schemas.plate_map_changes import WELLS_NAMED, describe_changes
from tests.samples import plate_map

MAP = plate_map()
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, ""),
    "a key": ({"um_per_px": 2.72}, f"um_per_px from {MAP.um_per_px or 'none'} to 2.72"),
    "a decision": ({"um_per_px_from": "file"}, "um_per_px_from from none to file"),
    "a key without influence": ({"acquire_at": time(10)}, ""),
    "a day": ({"readout_day": 12}, f"readout_day from {MAP.readout_day} to 12"),
}


@pytest.mark.parametrize(("changes", "text"), CHANGES.values(), ids=CHANGES.keys())
def test_changed_keys_are_named_with_both_values(changes: dict[str, Any], text: str) -> None:
    assert describe_changes(MAP, plate_map(**changes)) == text


def test_a_changed_label_names_the_well_and_both_labels() -> None:
    first, second = MAP.entries[0], MAP.entries[1]
    swapped = (
        first.model_copy(update={"group": second.group, "treatment": "paclitaxel:10 nM"}),
        *MAP.entries[1:],
    )
    text = describe_changes(MAP, MAP.model_copy(update={"entries": swapped}))
    before = f"{first.group} {first.treatment}".strip()
    assert text == f"well {first.well} from {before} to {second.group} paclitaxel:10 nM"


def test_an_added_and_a_removed_well_are_named() -> None:
    fewer = MAP.model_copy(update={"entries": MAP.entries[1:]})
    label = f"{MAP.entries[0].group} {MAP.entries[0].treatment}".strip()
    well = MAP.entries[0].well
    assert describe_changes(fewer, MAP) == f"well {well} from not in the map to {label}"
    assert describe_changes(MAP, fewer) == f"well {well} from {label} to not in the map"


def test_many_changed_wells_are_counted() -> None:
    none = MAP.model_copy(update={"entries": ()})
    count = len(MAP.entries)
    text = describe_changes(none, MAP)
    assert text.count("not in the map") == min(count, WELLS_NAMED)
    assert text.endswith(f"{count - WELLS_NAMED} more wells") == (count > WELLS_NAMED)
