"""``spherorank check``: everything a start needs, tried for real, every problem collected."""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from acquisition.drop_folder.assay_files import wrong_assays
from acquisition.drop_folder.naming import compile_pattern
from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.microscope.settings import check_installed
from daemon import wiring
from daemon.config import Config, load_config
from daemon.messaging import inquiries
from daemon.messaging.publisher import Publisher
from daemon.messaging.requests import Requests
from inference.bundle import load_bundle
from schemas.errors import ConfigError, SpheroRankError

OPENING_S = 60.0  # what a microscope may need to open, beside one call of a device


def problems_with(path: Path | None) -> list[str]:
    """Return every problem found, each naming file, key or address, the value and what was expected; empty if the service can start."""
    try:
        config = load_config(path)
    except ConfigError as error:
        return [f"{where}: {problem}" for where, problem in error.problems]
    is_running = _is_running(config)  # then the service itself holds its sockets and the microscope
    found = [
        *_source(config),
        *_refused(lambda: wiring.open_encoder(config)),
        *_refused(lambda: wiring.open_segmenter(config)),
        *_refused(
            lambda: wiring.open_rank_settings(config, load_bundle(config.encoder.bundle).card)
        ),
        *_store(config),
        *_folders(config),
        *([] if is_running else [*_sockets(config), *_microscope(config, path)]),
    ]
    return list(dict.fromkeys(found))  # an encoder that cannot be opened is met twice


def _refused(attempt: Callable[[], object]) -> list[str]:
    try:
        attempt()
    except SpheroRankError as error:
        return str(error).splitlines()
    return []


def _source(config: Config) -> Iterator[str]:
    yield from _refused(lambda: compile_pattern(config.source.pattern))
    folder = config.source.path
    if not folder.is_dir():
        expected = (
            "the robot's drop folder"
            if config.source.kind == "drop_folder"
            else "the folder that images are to be saved in"
        )
        yield f"source.path: {folder} is no folder; expected {expected}"
        return
    if not os.access(folder, os.R_OK | os.X_OK):
        yield f"source.path: {folder} cannot be read; expected read permission"
        return
    for result in read_plate_maps(folder).values():
        if isinstance(result, SpheroRankError):
            yield str(result)
    yield from map(str, wrong_assays(folder))


def _store(config: Config) -> list[str]:
    """Open the store, and ask it what the encoder has embedded."""

    def look() -> None:
        with closing(wiring.open_store(config)) as store:
            wiring.check_encoder_switch(
                config, store, load_bundle(config.encoder.bundle).card.encoder_id
            )

    return _refused(look)


def _folders(config: Config) -> Iterator[str]:
    written = {"output.rankings": config.output.rankings, "output.logs": config.output.logs}
    if config.source.kind == "micromanager" and config.source.micromanager is not None:
        written |= {"source.micromanager.state": config.source.micromanager.state}
        if config.source.path.is_dir():
            written |= {"source.path": config.source.path}
    for key, folder in written.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            yield f"{key}: {folder} cannot be made: {error.strerror}; expected a folder that can be written"
        else:
            if not os.access(folder, os.W_OK):
                yield f"{key}: {folder} cannot be written; expected write permission"


def _is_running(config: Config) -> bool:
    try:
        inquiries.ask_status(config.publisher.requests, timeout_s=0.5)
    except SpheroRankError:
        return False
    return True


def _sockets(config: Config) -> list[str]:
    return [
        *_refused(lambda: Publisher(config.publisher.events).close()),
        *_refused(lambda: Requests(config.publisher.requests).close()),
    ]


def _microscope(config: Config, path: Path | None) -> list[str]:
    """Let a process of its own open the microscope: camera drivers never enter this one."""
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        return []
    if problems := _refused(check_installed):
        return problems
    limit_s = OPENING_S + section.timeout_s
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            wiring.acquire_command(path, "--check"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        return [
            f"{section.config}: the microscope did not open within {limit_s:g} s; expected it to answer"
        ]
    found = done.stdout.splitlines()
    if done.returncode and not found:
        said = done.stderr.strip().rpartition("\n")[2] or "nothing"
        return [
            f"{section.config}: opening the microscope ended with exit code {done.returncode}, saying: {said}"
        ]
    return found if done.returncode else []
