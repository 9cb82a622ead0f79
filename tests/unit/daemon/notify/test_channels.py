"""URLs of channels are checked, never shown, and reach a real web server and mail server."""

from pathlib import Path

import pytest

from daemon.config import load_config
from daemon.config_sections import NotifySection
from daemon.jobs.start_check import _notify_problems
from daemon.notify.channels import AppriseChannel, open_channels, without_url
from schemas.errors import ConfigError
from tests.notification_sinks import HttpSink, MailSink, serving

HIDDEN = "s3cr3t-W0rd"


def opened(folder: Path, lines: str, mode: int = 0o600) -> list[AppriseChannel]:
    """Return the channels of a file with lines."""
    path = folder / "notify.urls"
    path.write_text(lines)
    path.chmod(mode)
    return open_channels(NotifySection(urls_file=path), None)


def test_a_text_reaches_a_web_server_and_a_mail_server(tmp_path: Path) -> None:
    with serving(HttpSink()) as web, serving(MailSink()) as mail:
        channels = opened(
            tmp_path,
            f"# people of the laboratory\n\njson://user:{HIDDEN}@127.0.0.1:{web.port}/hook\n"
            f"mailto://127.0.0.1:{mail.port}?from=robot@lab.example&to=anna@lab.example&mode=insecure\n",
        )
        problems = [each.send("SpheroRank: test <1>", "plate P1: alert disk") for each in channels]
    assert problems == ["", ""]
    assert [(each["title"], each["message"]) for each in web.bodies] == [
        ("SpheroRank: test <1>", "plate P1: alert disk")
    ]
    (received,) = mail.mails
    assert received["Subject"] == "SpheroRank: test <1>"
    assert "anna@lab.example" in received["To"]
    part = received.get_body()
    assert part is not None
    assert "plate P1: alert disk" in part.get_content()


def test_a_chat_receives_a_text_without_addresses_of_other_servers(tmp_path: Path) -> None:
    with serving(HttpSink()) as chat:
        (channel,) = opened(tmp_path, f"ntfy://127.0.0.1:{chat.port}/lab\n")
        assert channel.send("SpheroRank: test", "plate P1: alert disk") == ""
    assert chat.bodies[0]["message"] == "plate P1: alert disk"
    assert "https://" not in chat.text


def test_a_channel_names_its_line_and_scheme_only(tmp_path: Path) -> None:
    (channel,) = opened(tmp_path, f"\njson://user:{HIDDEN}@127.0.0.1:1/hook\n")
    assert channel.where == f"{tmp_path}/notify.urls, line 2 (json)"
    problem = channel.send("title", "body")
    assert "error occurred" in problem
    assert HIDDEN not in repr(channel) + problem


def test_the_reason_of_a_web_server_is_reported_without_the_url(tmp_path: Path) -> None:
    with serving(HttpSink(code=401)) as web:
        (channel,) = opened(tmp_path, f"json://{HIDDEN}:pass@127.0.0.1:{web.port}/hook\n")
        problem = channel.send("title", "body")
    assert "Verification Failed" in problem
    assert "error=401" in problem


def test_every_part_of_a_url_is_replaced_in_a_text() -> None:
    url = "json://anna:p%40ss@host.example/T0K3N?key=abc"
    text = without_url("json: p@ss p%40ss at HOST.example/t0k3n of Anna with abc", url)
    assert text == "json: **** **** at ****/**** of **** with ****"


def test_a_new_password_does_not_change_the_identity_and_equal_urls_have_their_own(
    tmp_path: Path,
) -> None:
    url = "json://user:{}@127.0.0.1:1/hook\n"
    (before,) = opened(tmp_path, url.format(HIDDEN))
    after, twin, other = opened(tmp_path, 2 * url.format("new") + "json://127.0.0.1:1/hook\n")
    assert before.identity == after.identity
    assert len({after.identity, twin.identity, other.identity}) == 3


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (f"pigeon://user:{HIDDEN}@host", "scheme pigeon, and apprise cannot use this URL"),
        (f"slack://{HIDDEN}", "scheme slack, and apprise cannot use this URL"),
        (f"anna:{HIDDEN}@host", "has no scheme; expected an apprise URL such as"),
    ],
)
def test_each_wrong_url_is_refused_with_its_line_and_without_its_text(
    line: str, problem: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        opened(tmp_path, f"json://host\n{line}\npigeon://x\n")
    assert [where for where, _ in refused.value.problems] == [
        f"{tmp_path}/notify.urls, line {number}" for number in (2, 3)
    ]
    assert problem in str(refused.value)
    assert HIDDEN not in str(refused.value) + "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("content", "mode", "problem"),
    [
        ("json://host", 0o640, "mode 0640.*expected 0600"),
        ("# nobody", 0o600, "has no URL; expected an apprise URL"),
        ("#" * 70_000, 0o600, "is too large"),
    ],
)
def test_a_file_of_urls_that_cannot_be_used_is_refused(
    content: str, mode: int, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=problem):
        opened(tmp_path, content, mode)


def test_a_systemd_credential_is_used_instead_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "notify.urls").write_text("json://host\n")
    (channel,) = open_channels(NotifySection(urls_file=Path("/absent")), tmp_path)
    assert channel.where == "credential notify.urls, line 1 (json)"


def test_a_password_in_the_configuration_file_is_refused_and_not_shown() -> None:
    (open_one,) = open_channels(NotifySection(urls=("ntfy://host/topic",)), None)
    assert open_one.where == "notify.urls, position 1 (ntfy)"
    urls = ("ntfy://host/topic", f"mailtos://user:{HIDDEN}@host.example")
    with pytest.raises(ConfigError, match="position 2: contains a password") as refused:
        open_channels(NotifySection(urls=urls), None)
    assert HIDDEN not in str(refused.value)


def test_the_check_of_the_configuration_lists_wrong_channels(tmp_path: Path) -> None:
    config = tmp_path / "spherorank.toml"
    config.write_text('[notify]\nurls = ["pigeon://a", "ntfy://host/topic", "b"]\n')
    problems = _notify_problems(load_config(config))
    assert [each.partition(":")[0] for each in problems] == [
        "notify.urls, position 1",
        "notify.urls, position 3",
    ]
    config.write_text(f'[notify]\nurls = "mailtos://user:{HIDDEN}@host"\n')
    with pytest.raises(ConfigError, match=r"notify.urls: is a wrong value; expected") as refused:
        load_config(config)
    assert HIDDEN not in str(refused.value)
