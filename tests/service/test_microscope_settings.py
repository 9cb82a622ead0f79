"""The configuration of a microscope, from the file to its settings and processes."""

import sys
from datetime import time
from pathlib import Path

import pytest

from acquisition.microscope.settings import (
    ARCHIVE_PATTERN,
    Focusing,
    MicroscopeSettings,
    PlatePlacement,
)
from daemon.config import Config, load_config, microscope_settings
from daemon.config_sections import MicromanagerSection
from daemon.jobs import start_check
from daemon.wiring.microscope import acquire_command
from schemas.errors import ConfigError
from tests.service_process import ServiceProcess

NEEDED = 'config = "MMConfig.cfg"\na1_um = [1000.0, -500.0]\n'


def load(
    folder: Path, microscope: str | None = NEEDED, source: str = 'kind = "micromanager"'
) -> Config:
    table = "" if microscope is None else f"[source.micromanager]\n{microscope}\n"
    file = folder / "spherorank.toml"
    file.write_text(f"[source]\n{source}\n{table}")
    return load_config(file)


def section_of(folder: Path, line: str) -> MicromanagerSection:
    section = load(folder, f"{NEEDED}{line}").source.micromanager
    assert section is not None
    return section


def test_all_keys_but_two_have_a_default(tmp_path: Path) -> None:
    config = load(tmp_path)
    assert config.source.pattern == ARCHIVE_PATTERN
    assert microscope_settings(config) == MicroscopeSettings(
        config=tmp_path / "MMConfig.cfg", a1_um=(1000.0, -500.0)
    )


def test_configured_values_reach_the_settings_of_the_microscope(tmp_path: Path) -> None:
    lines = (
        'adapters = "mm"\nfocusing = "software"\nz_limits_um = [-10, 10]\n'
        'plate = 384\nchannel = "Channel:BF"'
    )
    settings = microscope_settings(
        load(tmp_path, NEEDED + lines, 'kind = "micromanager"\nplanes = 5')
    )
    assert (settings.planes, settings.plate, settings.focusing, settings.z_limits_um) == (
        5,
        384,
        Focusing.SOFTWARE,
        (-10.0, 10.0),
    )
    assert settings.adapters == tmp_path / "mm"


def test_the_longest_step_of_a_device_is_a_move_or_an_exposure(tmp_path: Path) -> None:
    long = microscope_settings(
        load(tmp_path, f"{NEEDED}exposure_ms = 60_000\nautofocus_offset_um = -8")
    )
    assert (long.longest_step_s, long.autofocus_offset_um) == (60.0, -8.0)
    assert microscope_settings(load(tmp_path, f"{NEEDED}timeout_s = 45")).longest_step_s == 45.0


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('acquire_at = "10:00"', time(10)),
        ("acquire_at = 10:30:00", time(10, 30)),
        ('acquire_at = ""', None),
        ("", None),
    ],
)
def test_a_time_of_day_is_read_from_text_and_from_a_toml_time(
    tmp_path: Path, line: str, expected: time | None
) -> None:
    assert section_of(tmp_path, line).acquire_at == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('present = "ready_file"', "ready_file"),
        ('present = ["arm", "{action}", "{plate}"]', ("arm", "{action}", "{plate}")),
    ],
)
def test_plates_are_loaded_by_a_file_or_a_command(
    tmp_path: Path, line: str, expected: object
) -> None:
    assert section_of(tmp_path, line).present == expected


def test_limits_that_are_not_checked_and_places_of_other_plates_reach_the_settings(
    tmp_path: Path,
) -> None:
    plates = "plates = [{ wells = 384, a1_um = [1, 2], rotation_deg = 3 }]"
    lines = f'stage_limits_um = "unchecked"\n{plates}'
    settings = microscope_settings(load(tmp_path, NEEDED + lines))
    assert settings.stage_limits_um is None
    assert settings.plates == (PlatePlacement(384, (1.0, 2.0), None, 3.0),)


def test_the_environment_overrides_the_section_of_the_microscope(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in {
        "A1_UM": "[3, 4]",
        "PRESENT": "ready_file",
        "ACQUIRE_AT": "09:30",
        "PLATE": "24",
        "CONFIG": "lab.cfg",
        "STAGE_LIMITS_UM": "unchecked",
    }.items():
        monkeypatch.setenv(f"SPHERORANK_SOURCE__MICROMANAGER__{key}", value)
    section = load(tmp_path, None).source.micromanager
    assert section is not None
    assert (section.a1_um, section.present, section.acquire_at, section.plate) == (
        (3.0, 4.0),
        "ready_file",
        time(9, 30),
        24,
    )
    monkeypatch.setenv("SPHERORANK_SOURCE__MICROMANAGER__A1_UM", "left")
    with pytest.raises(ConfigError, match="expected JSON"):
        load(tmp_path, None)


@pytest.mark.parametrize(
    ("microscope", "message"),
    [
        (
            None,
            (
                r"key source.micromanager: is None; "
                r"expected a table \[source.micromanager\] with config and a1_um"
            ),
        ),
        ("", "key source.micromanager.config: is missing; expected the hardware configuration"),
        (
            'config = "x.cfg"',
            r"key source.micromanager.a1_um: is missing; expected \[x, y\] of the stage",
        ),
        (
            'config = "x.cfg"\na1_um = [nan, 0.0]',
            "key source.micromanager.a1_um.0: is nan; expected a finite number",
        ),
        (
            NEEDED + "wells = 96",
            "key source.micromanager.wells: is unknown; expected one of config, a1_um",
        ),
        (NEEDED + "plate = 97", "plate: is 97; expected one of 6, 12, 24, 48, 96, 384, 1536"),
        (
            NEEDED + "plates = [{ wells = 96, a1_um = [0, 0] }]",
            r"plates: is \[.*\]; expected one place for 96 wells \(the key plate is one, too\)",
        ),
        (
            NEEDED + 'um_per_px_from = "section"',
            "um_per_px_from: is 'section'; expected the key um_per_px too",
        ),
        (
            NEEDED + 'stage_limits_um = "none"',
            r"stage_limits_um: is 'none'; expected \[x from, y from, x to, y to\]",
        ),
        (NEEDED + 'well_order = "spiral"', "well_order: is 'spiral'; expected 'row_wise_snake'"),
        (NEEDED + 'channel = "BF"', "channel: is 'BF'; expected \"GROUP:PRESET\""),
        (NEEDED + "acquire_at = 10", 'acquire_at: is 10; expected a time of day, such as "10:00"'),
        (NEEDED + 'acquire_at = "10:00Z"', "acquire_at: is '10:00Z'; expected a time of day"),
        (
            NEEDED + "acquire_days = [0]",
            "acquire_days.0: is 0; expected greater than or equal to 1",
        ),
        (
            NEEDED + 'present = "arm"',
            'present: is \'arm\'; expected "always", "ready_file", or a command',
        ),
        (
            NEEDED + "z_limits_um = [10, -10]",
            r"z_limits_um: is \[10, -10\]; expected lower limits first",
        ),
        (
            NEEDED + "stage_limits_um = [0, 0, 100, 0]",
            "stage_limits_um: is .*; expected lower limits first",
        ),
        (NEEDED + "settle_ms = -1", "settle_ms: is -1; expected greater than or equal to 0"),
        (NEEDED + "autofocus_offset_um = nan", "autofocus_offset_um: is nan; expected"),
        (NEEDED + "spacing_um = inf", "spacing_um: is inf; expected a finite number"),
    ],
)
def test_a_wrong_key_is_named_with_the_expected_value(
    tmp_path: Path, microscope: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, microscope)


def test_the_archive_has_a_fixed_pattern(tmp_path: Path) -> None:
    assert (
        load(
            tmp_path, source=f'kind = "micromanager"\npattern = "{ARCHIVE_PATTERN}"'
        ).source.pattern
        == ARCHIVE_PATTERN
    )
    with pytest.raises(ConfigError, match=r"key source.pattern: is '\{well\}.tif'; expected"):
        load(tmp_path, source='kind = "micromanager"\npattern = "{well}.tif"')


def test_a_drop_folder_has_no_microscope_settings(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r'source.kind: is "drop_folder"; expected "micromanager"'
    ):
        microscope_settings(load(tmp_path, None, ""))


def configure(service: ServiceProcess) -> None:
    service.configure(
        source=(
            'kind = "micromanager"\n[source.micromanager]\n'
            'config = "none.cfg"\na1_um = [0.0, 0.0]\nstage_limits_um = "unchecked"\n'
        )
    )


def test_check_without_the_extra_names_the_packages_and_checks_the_archive(
    empty_service: ServiceProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(empty_service)
    empty_service.drop.rmdir()
    monkeypatch.setitem(sys.modules, "pymmcore_plus", None)  # so that its import fails
    archive, microscope = start_check.find_start_problems(empty_service.config)
    assert archive == (
        f"source.path: {empty_service.drop} is no folder; "
        "expected the folder that images are to be saved in"
    )
    assert microscope == (
        'source.kind: "micromanager" needs pymmcore_plus, not found here; '
        'expected: pip install "spherorank[micromanager]"'
    )


@pytest.mark.micromanager
def test_check_opens_the_microscope_in_another_process(empty_service: ServiceProcess) -> None:
    configure(empty_service)
    problems = start_check.find_start_problems(empty_service.config)
    assert len(problems) == 1
    assert str(empty_service.folder / "none.cfg") in problems[0]


@pytest.mark.micromanager
def test_the_service_keeps_running_if_the_microscope_cannot_be_opened(
    empty_service: ServiceProcess,
) -> None:
    configure(empty_service)
    with empty_service.running():
        empty_service.wait_for(
            lambda: any(
                line["kind"] == "microscope" for line in empty_service.events("alert.raised")
            )
        )
        empty_service.wait_for(
            lambda: "microscope    restarting" in empty_service.ask("status").stdout
        )
    (alert,) = empty_service.events("alert.raised")
    assert "none.cfg" in alert["message"]
    assert "exit code 78" in alert["message"]


def test_run_once_does_not_start_the_imaging_process(empty_service: ServiceProcess) -> None:
    configure(empty_service)
    assert empty_service.run_once().returncode == 0
    assert not empty_service.events("microscope.started")
    assert not empty_service.events("alert.raised")


def test_the_command_of_the_imaging_process_names_the_configuration_file(tmp_path: Path) -> None:
    command = acquire_command(tmp_path / "spherorank.toml", "serve")
    assert command[-4:] == ["acquire", "serve", "--config", str(tmp_path / "spherorank.toml")]
