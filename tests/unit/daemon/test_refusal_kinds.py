"""Each reason of a refusal has a kind for monitoring."""

import pytest

from daemon.refusal_kinds import RefusalKind, refusal_kind


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("the name does not fit the pattern {plate}/{well}.tif", RefusalKind.NAME),
        ("its name has a backslash or bytes that are not UTF-8; expected plain text", "name"),
        ("the plate id has a slash", "name"),
        ("damaged: 3×3 pixels are decoded; expected 9×9, as its header says", "damaged"),
        ("cut short: the value of its tag 273 is zero; expected the whole file", "damaged"),
        ("0 bytes; expected an image (.tif .png)", "damaged"),
        ("cannot be read: Permission denied", "damaged"),
        ("8×8 pixels; expected at least 16 a side", "size"),
        ("its header says 9×9 pixels; expected at most 4 per plane", "size"),
        ("70 planes; expected at most 64", "size"),
        ("starts with b'no image'; expected a TIFF, PNG or JPEG image", "format"),
        ("pixels are float32; expected uint8 or uint16 grey", "format"),
        ("a stack of 2 channels; expected the focal planes of one image", "format"),
        ("its planes are uint8 and uint16; expected one size and type", "format"),
        ("quarantined: ends the process that reads it (signal SIGSEGV), 2 times", "ends_process"),
        ("cannot be processed: KeyError: 'a'", "other"),
    ],
)
def test_a_reason_has_a_kind(reason: str, kind: str) -> None:
    assert refusal_kind(reason) == kind
