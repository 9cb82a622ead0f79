"""The lists in a status reply, and their text on a terminal."""

from datetime import timedelta

from daemon.messaging.inquiries import status_lines
from daemon.service_status import RejectedFiles, ServiceStatus
from schemas.messages import MicroscopeData, MicroscopeState, StatusData
from schemas.observation import RejectedFile
from schemas.requests import StatusReply
from schemas.well_image import PendingImages, Rejected, SourceStatus
from tests.samples import ENCODER_ID, MEASURED_BY, NOW, file_version, well_image
from tests.samples import status_data as status_message


def stored(count: int) -> list[RejectedFile]:
    return [
        RejectedFile(f"P/{n}.tif", 1, 1, "P", "B02", f"reason {n}", NOW + timedelta(hours=n))
        for n in range(count)
    ]


def service_status(files: RejectedFiles, source: SourceStatus) -> ServiceStatus:
    ids = ENCODER_ID, MEASURED_BY
    return ServiceStatus("0.1.0", *ids, NOW, lambda: None, files, source)


def reply(status: ServiceStatus) -> StatusReply:
    return StatusReply(**status.message().model_dump(), **status.details().model_dump())


def test_the_newest_rejected_files_are_listed_first_with_the_number_of_all() -> None:
    answer = reply(service_status(RejectedFiles(stored(60)), SourceStatus()))
    assert answer.rejected == 60
    assert [each.path for each in answer.rejected_files] == [f"P/{n}.tif" for n in range(59, 9, -1)]
    newest = answer.rejected_files[0]
    assert (newest.reason, newest.rejected_at) == ("reason 59", NOW + timedelta(hours=59))


def test_outcomes_of_files_change_the_list_of_rejected_files() -> None:
    files = RejectedFiles(stored(2))
    again = file_version("P/0.tif")
    files.note_outcome(Rejected((again,), "still bad", "P"), NOW + timedelta(days=3))
    assert [(each.path, each.reason) for each in files.newest()] == [
        ("P/0.tif", "still bad"),
        ("P/1.tif", "reason 1"),
    ]
    files.note_outcome(well_image(files=(again,)), NOW + timedelta(days=4))
    assert [each.path for each in files.newest()] == ["P/1.tif"]
    assert len(files) == 1


def test_the_text_has_the_numbers_and_the_first_of_each_list() -> None:
    source = SourceStatus(
        pending={"P": 3},
        waiting=(PendingImages("P", "planes are missing", 3), PendingImages("Q", "no [map]", 8)),
        unreadable={f"P/{n}.png": "Input/output error" for n in range(3)},
    )
    lines = status_lines(reply(service_status(RejectedFiles(stored(7)), source)), NOW)
    texts = [line.strip() for line in lines]
    assert texts[texts.index("pending       2 plates and reasons") + 1 :][:2] == [
        "P: 3 (planes are missing)",
        "Q: 8 (no [map])",
    ]
    start = texts.index("rejected      7 files (spherorank rejected lists them)")
    assert texts[start + 1 : start + 7] == [
        *(f"P/{n}.tif: reason {n}" for n in (6, 5, 4, 3, 2)),
        "and 2 more (--json)",
    ]
    assert "unreadable    3 files, which are tried again" in texts
    assert "P/2.png: Input/output error" in texts


def test_a_reply_of_an_earlier_service_without_the_lists_is_read() -> None:
    answer = StatusReply.model_validate_json(status_message().model_dump_json())
    assert isinstance(answer, StatusData)
    assert (answer.pending, answer.rejected_files, answer.unreadable_files) == ((), (), ())
    assert "rejected      0 files" in "\n".join(status_lines(answer, NOW))


def test_the_text_shows_the_length_of_a_pause_and_the_time_left() -> None:
    status = reply(service_status(RejectedFiles([]), SourceStatus()))
    microscope = MicroscopeData(
        state=MicroscopeState.PAUSED,
        plate="P1",
        day=7,
        wells_saved=13,
        wells_total=60,
        remaining_s=611.0,
        paused_since=NOW - timedelta(hours=2, minutes=13),
    )
    text = "\n".join(status_lines(status.model_copy(update={"microscope": microscope}), NOW))
    (line,) = [each for each in text.splitlines() if each.startswith("microscope")]
    assert line.startswith("microscope    paused for 2 h 13 min (since 20")
    assert line.endswith("plate P1, day 7, 13 of 60 wells, 10 min left")
