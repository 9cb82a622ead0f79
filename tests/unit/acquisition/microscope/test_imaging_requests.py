import errno
import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from acquisition.microscope.imaging_requests import (
    ASKED,
    ImagingRequest,
    ImagingRequests,
    open_imaging_requests,
)
from schemas.errors import OutputError
from tests.samples import NOW, PLATE


def imaging_request(*wells: str, **changes: Any) -> ImagingRequest:  # noqa: ANN401 - any field of a request
    return ImagingRequest(
        **{
            "plate": PLATE,
            "day": 7,
            "wells": wells or ("B02",),
            "reason": "blurred",
            "made_at": NOW,
        }
        | changes
    )


def test_a_request_is_found_when_the_folder_is_opened_again(tmp_path: Path) -> None:
    made = imaging_request("B02", "c3", wide=True, recentre=True)
    assert ImagingRequests(tmp_path / "state" / "imaging_requests").add(made)
    ((_, found),) = ImagingRequests(tmp_path / "state" / "imaging_requests").pending()
    assert found == made
    assert found.wells == ("B02", "C03")


def test_a_missing_folder_contains_no_requests(tmp_path: Path) -> None:
    assert ImagingRequests(tmp_path / "none").pending() == []


def test_pending_requests_are_listed_oldest_first(tmp_path: Path) -> None:
    requests = ImagingRequests(tmp_path)
    for minutes, well in ((5, "D05"), (1, "B02"), (3, "C03")):
        requests.add(imaging_request(well, made_at=NOW + timedelta(minutes=minutes)))
    assert [each.wells[0] for _, each in requests.pending()] == ["B02", "C03", "D05"]


def test_an_equal_request_of_an_earlier_run_of_the_plate_does_not_count(tmp_path: Path) -> None:
    requests = ImagingRequests(tmp_path)
    later = NOW + timedelta(days=30)
    assert requests.add(imaging_request("B02"))
    assert not requests.add(imaging_request("B02", made_at=later), since=NOW)
    assert requests.add(imaging_request("B02", made_at=later), since=NOW + timedelta(days=20))
    assert not requests.add(imaging_request("B02", made_at=later), since=NOW + timedelta(days=20))


def test_an_equal_request_is_stored_once_even_after_the_first_was_finished(tmp_path: Path) -> None:
    requests = ImagingRequests(tmp_path)
    assert requests.add(imaging_request("B02", "C03"))
    assert not requests.add(
        imaging_request("C03", "B02", made_at=NOW + timedelta(hours=1), wide=True)
    )
    ((name, _),) = requests.pending()
    requests.finish(name)
    assert requests.pending() == []
    assert not requests.add(imaging_request("B02", "C03", made_at=NOW + timedelta(hours=2)))


@pytest.mark.parametrize(
    "changes", [{"plate": "PDAC-0043"}, {"day": 8}, {"wells": ("B03",)}, {"reason": "cut"}]
)
def test_a_request_that_differs_in_one_field_is_stored_too(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    requests = ImagingRequests(tmp_path)
    requests.add(imaging_request("B02"))
    assert requests.add(imaging_request("B02", **changes))


def test_an_operator_may_make_the_same_request_several_times(tmp_path: Path) -> None:
    requests = ImagingRequests(tmp_path)
    names = [requests.add(imaging_request("B02", reason=ASKED)) for _ in range(3)]
    assert [name for name, _ in requests.pending()] == names


def test_finishing_a_request_that_another_process_moved_does_nothing(tmp_path: Path) -> None:
    requests = ImagingRequests(tmp_path)
    name = requests.add(imaging_request("B02"))
    assert name is not None
    requests.drop(name, "a person thought better of it")
    with capture_logs() as logs:
        requests.finish(name)
        requests.drop(name, "its day is over")
    assert logs == []


def test_a_dropped_request_is_not_pending_and_the_reason_is_logged(tmp_path: Path) -> None:
    requests = ImagingRequests(tmp_path)
    requests.add(imaging_request("B02"))
    ((name, _),) = requests.pending()
    with capture_logs() as logs:
        requests.drop(name, "its day is over")
    assert [(entry["event"], entry["why"]) for entry in logs] == [
        ("imaging_request.dropped", "its day is over")
    ]
    assert requests.pending() == []
    assert not requests.add(imaging_request("B02"))


@pytest.mark.parametrize(
    "content", [b"", b'{"plate": "PDAC-00', b'{"plate": "../etc", "day": 0}', b"\xff\xfe"]
)
def test_a_damaged_file_is_moved_and_the_other_requests_stay_pending(
    tmp_path: Path, content: bytes
) -> None:
    requests = ImagingRequests(tmp_path)
    requests.add(imaging_request("B02"))
    (tmp_path / "20200101T000000.000000Z-0-1.json").write_bytes(content)
    with capture_logs() as logs:
        assert [each.wells for _, each in requests.pending()] == [("B02",)]
    assert [entry["event"] for entry in logs] == ["imaging_request.damaged"]
    assert Path(logs[0]["file"]).read_bytes() == content
    assert len(requests.pending()) == 1


def test_a_half_written_file_is_not_a_request(tmp_path: Path) -> None:
    (tmp_path / ".20200101T000000.000000Z-0-1.json.part").write_text("{")
    assert ImagingRequests(tmp_path).pending() == []


def test_a_request_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "imaging_requests").write_text("a file where the folder should be")
    with pytest.raises(OutputError, match="cannot be written"):
        ImagingRequests(tmp_path / "imaging_requests").add(imaging_request())


@pytest.mark.parametrize(
    "changes",
    [
        {"plate": "../x"},
        {"day": 0},
        {"wells": ("Z99",)},
        {"reason": ""},
        {"made_at": NOW.replace(tzinfo=None)},
    ],
)
def test_a_request_with_an_invalid_field_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        imaging_request(**changes)


def test_opening_the_state_folder_renames_the_folder_of_former_versions(tmp_path: Path) -> None:
    former = ImagingRequests(tmp_path / "wishes")
    finished, pending = former.add(imaging_request("B02")), former.add(imaging_request("C03"))
    assert finished is not None
    former.finish(finished)
    requests = open_imaging_requests(tmp_path)
    assert [name for name, _ in requests.pending()] == [pending]
    assert requests.add(imaging_request("B02")) is None
    assert [path.name for path in tmp_path.iterdir()] == ["imaging_requests"]


def test_a_folder_of_former_versions_is_not_renamed_over_the_present_one(tmp_path: Path) -> None:
    ImagingRequests(tmp_path / "wishes").add(imaging_request("B02"))
    present = ImagingRequests(tmp_path / "imaging_requests")
    present.add(imaging_request("C03"))
    assert open_imaging_requests(tmp_path).pending() == present.pending()


def test_a_folder_of_former_versions_that_cannot_be_renamed_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(_path: Path, _to: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    ImagingRequests(tmp_path / "wishes").add(imaging_request("B02"))
    monkeypatch.setattr(Path, "rename", read_only)
    with pytest.raises(OutputError, match="wishes: cannot be renamed to imaging_requests"):
        open_imaging_requests(tmp_path)


def test_a_folder_that_another_process_renames_at_the_same_time_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def renamed_before(path: Path, to: Path) -> None:
        path.replace(to)
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))

    ImagingRequests(tmp_path / "wishes").add(imaging_request("B02"))
    monkeypatch.setattr(Path, "rename", renamed_before)
    assert len(open_imaging_requests(tmp_path).pending()) == 1
