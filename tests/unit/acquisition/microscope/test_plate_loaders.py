import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acquisition.microscope.plate_loaders import (
    POLL_S,
    READY_FILE,
    WANTED_FILE,
    CommandLoader,
    FileLoader,
    ManualLoader,
    PlateLoader,
)
from schemas.errors import ConfigError, MicroscopeError


def keep_waiting() -> bool:
    return True


def stop_waiting() -> bool:
    return False


def python_command(code: str) -> list[str]:
    return [sys.executable, "-c", code, "{plate}", "{action}"]


def put_ready_file(root: Path, plate: str) -> Path:
    (root / plate).mkdir(exist_ok=True)
    (root / plate / READY_FILE).touch()
    return root / plate / READY_FILE


def wait_that_calls(after: int, happen: Callable[[], object]) -> Callable[[float], None]:
    """Return a wait function that calls another function at its nth call."""
    calls: list[float] = []

    def wait(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) == after:
            happen()

    return wait


def test_a_manual_loader_does_nothing() -> None:
    loader: PlateLoader = ManualLoader()
    loader.load("P1")
    loader.unload("P1")


def test_a_ready_plate_is_loaded_at_once_and_wanted_until_it_is_unloaded(
    tmp_path: Path,
) -> None:
    put_ready_file(tmp_path, "P1")
    loader = FileLoader(tmp_path, 60, keep_waiting, lambda _: pytest.fail("nothing to wait for"))
    loader.load("P1")
    assert (tmp_path / "P1" / WANTED_FILE).exists()
    loader.unload("P1")
    assert sorted(path.name for path in (tmp_path / "P1").iterdir()) == [READY_FILE]


def test_a_wanted_file_that_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "P1" / WANTED_FILE).mkdir(parents=True)
    with pytest.raises(MicroscopeError, match=r"plate\.wanted cannot be removed"):
        FileLoader(tmp_path, 60, keep_waiting).unload("P1")


def test_a_plate_is_loaded_when_its_ready_file_appears(tmp_path: Path) -> None:
    FileLoader(
        tmp_path, 60, keep_waiting, wait_that_calls(3, lambda: put_ready_file(tmp_path, "P1"))
    ).load("P1")


def test_a_plate_is_not_loaded_while_another_plate_is_ready(tmp_path: Path) -> None:
    other = put_ready_file(tmp_path, "P2")
    put_ready_file(tmp_path, "P1")
    FileLoader(tmp_path, 60, keep_waiting, wait_that_calls(5, other.unlink)).load("P1")
    put_ready_file(tmp_path, "P2")
    message = (
        r"plate P1: after 2 s, plate\.ready exists for P1 and P2; expected it for this plate only"
    )
    with pytest.raises(MicroscopeError, match=message):
        FileLoader(tmp_path, 2, keep_waiting, lambda _: None).load("P1")


def test_a_plate_that_does_not_come_is_released_after_the_timeout(tmp_path: Path) -> None:
    waited: list[float] = []
    with pytest.raises(MicroscopeError, match=r"after 10 s, plate\.ready exists for no plate"):
        FileLoader(tmp_path, 10, keep_waiting, waited.append).load("P1")
    assert waited == [POLL_S] * 20
    assert (
        list((tmp_path / "P1").iterdir()) == []
    )  # an arm that is slow must not bring it while another one is wanted


def test_a_plate_still_wanted_after_a_crash_is_released_before_the_next_is_loaded(
    tmp_path: Path,
) -> None:
    left = put_ready_file(tmp_path, "P2")
    left.with_name(WANTED_FILE).touch()
    put_ready_file(tmp_path, "P1")

    def arm_takes_away() -> None:
        assert not left.with_name(WANTED_FILE).exists()
        left.unlink()

    FileLoader(tmp_path, 60, keep_waiting, wait_that_calls(2, arm_takes_away)).load("P1")


@pytest.mark.parametrize(
    "loader",
    [
        FileLoader(Path("none"), 60, stop_waiting),
        CommandLoader(python_command("import time; time.sleep(60)"), 60, stop_waiting),
    ],
)
def test_waiting_ends_when_the_process_is_to_stop(
    loader: PlateLoader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MicroscopeError, match="a signal ended the wait"):
        loader.load("P1")


def test_a_command_receives_plate_and_action(tmp_path: Path) -> None:
    loader = CommandLoader(
        [
            *python_command(
                "import sys; open(sys.argv[3], 'a').write(' '.join(sys.argv[1:3]) + ';')"
            ),
            str(tmp_path / "calls"),
        ],
        60,
        keep_waiting,
    )
    loader.load("PDAC 42")
    loader.unload("PDAC 42")
    assert (tmp_path / "calls").read_text() == "PDAC 42 present;PDAC 42 release;"


def test_the_output_of_a_command_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    CommandLoader(
        python_command("import sys; print('gripping'); print('warm', file=sys.stderr)"),
        60,
        keep_waiting,
    ).load("P1")
    assert capfd.readouterr() == ("", "")


def test_the_error_of_a_failed_command_quotes_its_last_line() -> None:
    message = (
        r"plate P1, present, .*python.*: ended with exit code 3: no plate in hotel 7; expected 0"
    )
    with pytest.raises(MicroscopeError, match=message):
        CommandLoader(
            python_command(
                "import sys; print('moving\\nno plate in hotel 7', file=sys.stderr); sys.exit(3)"
            ),
            60,
            keep_waiting,
        ).load("P1")


def test_a_command_that_hangs_is_ended_after_the_timeout() -> None:
    with pytest.raises(MicroscopeError, match=r"still runs after 0\.2 s; expected it to end"):
        CommandLoader(python_command("import time; time.sleep(60)"), 0.2, keep_waiting).unload("P1")


def test_a_missing_command_is_an_error() -> None:
    with pytest.raises(MicroscopeError, match=r"cannot be run \(No such file or directory\)"):
        CommandLoader(["/no/such/arm", "{plate}"], 60, keep_waiting).load("P1")


def test_a_command_without_the_plate_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"expected a command with \{plate\} among its words"):
        CommandLoader(["arm", "present"], 60, keep_waiting)
