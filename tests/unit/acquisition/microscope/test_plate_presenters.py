import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from acquisition.microscope.plate_presenters import (
    LOOK_S,
    READY,
    WANTED,
    AlwaysThere,
    Arm,
    Presenter,
    ReadyFile,
)
from schemas.errors import ConfigError, MicroscopeError


def go_on() -> bool:
    return True


def stop() -> bool:
    return False


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code, "{plate}", "{action}"]


def put(root: Path, plate: str) -> Path:
    (root / plate).mkdir(exist_ok=True)
    (root / plate / READY).touch()
    return root / plate / READY


def later(after: int, happen: Callable[[], object]) -> Callable[[float], None]:
    """Return a wait in which something happens at its nth call."""
    calls: list[float] = []

    def wait(seconds: float) -> None:
        calls.append(seconds)
        if len(calls) == after:
            happen()

    return wait


def test_a_plate_that_is_always_there_needs_nothing() -> None:
    presenter: Presenter = AlwaysThere()
    presenter.present("P1")
    presenter.release("P1")


def test_a_plate_whose_file_lies_there_is_ready_at_once_and_wanted_until_released(
    tmp_path: Path,
) -> None:
    put(tmp_path, "P1")
    presenter = ReadyFile(tmp_path, 60, go_on, lambda _: pytest.fail("nothing to wait for"))
    presenter.present("P1")
    assert (tmp_path / "P1" / WANTED).exists()
    presenter.release("P1")
    assert sorted(path.name for path in (tmp_path / "P1").iterdir()) == [READY]


def test_a_wanted_file_that_cannot_be_removed_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "P1" / WANTED).mkdir(parents=True)
    with pytest.raises(MicroscopeError, match=r"plate\.wanted cannot be removed"):
        ReadyFile(tmp_path, 60, go_on).release("P1")


def test_a_plate_is_waited_for(tmp_path: Path) -> None:
    ReadyFile(tmp_path, 60, go_on, later(3, lambda: put(tmp_path, "P1"))).present("P1")


def test_while_another_plate_lies_there_none_is_imaged_in_its_name(tmp_path: Path) -> None:
    other = put(tmp_path, "P2")
    put(tmp_path, "P1")
    ReadyFile(tmp_path, 60, go_on, later(5, other.unlink)).present("P1")
    put(tmp_path, "P2")
    with pytest.raises(
        MicroscopeError,
        match=r"plate P1: after 2 s there is plate\.ready of P1 and P2; expected of this one alone",
    ):
        ReadyFile(tmp_path, 2, go_on, lambda _: None).present("P1")


def test_a_plate_that_does_not_come_is_waited_for_so_long_and_no_longer(tmp_path: Path) -> None:
    waited: list[float] = []
    with pytest.raises(MicroscopeError, match=r"after 10 s there is plate\.ready of no plate"):
        ReadyFile(tmp_path, 10, go_on, waited.append).present("P1")
    assert waited == [LOOK_S] * 20
    assert (
        list((tmp_path / "P1").iterdir()) == []
    )  # an arm that is slow must not bring it while another one is wanted


def test_a_plate_that_a_crash_left_wanted_is_not_wanted_beside_the_next(tmp_path: Path) -> None:
    left = put(tmp_path, "P2")
    left.with_name(WANTED).touch()
    put(tmp_path, "P1")

    def arm_takes_away() -> None:
        assert not left.with_name(WANTED).exists()
        left.unlink()

    ReadyFile(tmp_path, 60, go_on, later(2, arm_takes_away)).present("P1")


@pytest.mark.parametrize(
    "presenter",
    [ReadyFile(Path("none"), 60, stop), Arm(python("import time; time.sleep(60)"), 60, stop)],
)
def test_who_is_told_to_stop_waits_no_longer(
    presenter: Presenter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MicroscopeError, match="until told to stop"):
        presenter.present("P1")


def test_a_command_is_told_plate_and_action(tmp_path: Path) -> None:
    arm = Arm(
        [
            *python("import sys; open(sys.argv[3], 'a').write(' '.join(sys.argv[1:3]) + ';')"),
            str(tmp_path / "said"),
        ],
        60,
        go_on,
    )
    arm.present("PDAC 42")
    arm.release("PDAC 42")
    assert (tmp_path / "said").read_text() == "PDAC 42 present;PDAC 42 release;"


def test_a_command_s_output_is_not_mixed_with_ours(capfd: pytest.CaptureFixture[str]) -> None:
    Arm(python("import sys; print('gripping'); print('warm', file=sys.stderr)"), 60, go_on).present(
        "P1"
    )
    assert capfd.readouterr() == ("", "")


def test_a_command_that_fails_says_why_in_its_last_line() -> None:
    with pytest.raises(
        MicroscopeError,
        match=r"plate P1, present, .*python.*: ended with 3: no plate in hotel 7; expected 0",
    ):
        Arm(
            python(
                "import sys; print('moving\\nno plate in hotel 7', file=sys.stderr); sys.exit(3)"
            ),
            60,
            go_on,
        ).present("P1")


def test_a_command_that_hangs_is_ended() -> None:
    with pytest.raises(MicroscopeError, match=r"still runs after 0\.2 s; expected its end"):
        Arm(python("import time; time.sleep(60)"), 0.2, go_on).release("P1")


def test_a_command_that_is_not_there_is_an_error() -> None:
    with pytest.raises(MicroscopeError, match=r"cannot be run \(No such file or directory\)"):
        Arm(["/no/such/arm", "{plate}"], 60, go_on).present("P1")


def test_a_command_that_cannot_know_the_plate_is_a_wrong_setting() -> None:
    with pytest.raises(ConfigError, match=r"expected a command with \{plate\} among its words"):
        Arm(["arm", "present"], 60, go_on)
