"""Work of ``spherorank check``: try everything that the service needs at its start.

Every problem is collected, so that one call shows them all.
"""

import os
import subprocess
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

from acquisition.drop_folder.assay_files import wrong_assays
from acquisition.drop_folder.listing import list_files
from acquisition.drop_folder.naming import compile_pattern
from acquisition.drop_folder.plate_map_files import read_plate_maps
from acquisition.microscope.settings import check_installed
from daemon.config import Config, credentials_folder, load_config
from daemon.messaging import inquiries
from daemon.messaging.configured_keys import configured_keys, keys_of_own_client
from daemon.messaging.sockets import MessageSockets
from daemon.wiring.departure import open_departure_settings
from daemon.wiring.microscope import acquire_command
from daemon.wiring.networks import open_encoder, open_segmenter, open_stain
from daemon.wiring.store import check_encoder_switch, lock_for_service, open_store
from inference.bundle import load_bundle
from schemas.errors import ConfigError, SpheroRankError, StoreInUseError

OPENING_S = 60.0  # time in which a microscope opens, besides the time limit of one device call
STATUS_TIMEOUT_S = 0.5
STRUCTURE_BYTES = 1_000_000_000  # some seconds; `spherorank store check` checks larger files


def find_start_problems(path: Path | None) -> list[str]:
    """Return every problem of a configuration file that prevents the start of the service.

    If the service runs, its sockets and its microscope are not checked: the service uses them.

    Parameters
    ----------
    path
        The configuration file; None for the default settings.

    Returns
    -------
    list[str]
        Each text names the file, key or address, the value found and the value expected. The list
        is empty if the service can start.
    """
    try:
        config = load_config(path)
    except ConfigError as error:
        return [f"{where}: {problem}" for where, problem in error.problems]
    is_running = _is_running(config)
    found = [
        *_source_problems(config),
        *_errors_of(lambda: open_encoder(config)),
        *_errors_of(lambda: open_segmenter(config.tissue)),
        *_errors_of(lambda: open_stain(config.stain)),
        *_errors_of(
            lambda: open_departure_settings(config, load_bundle(config.encoder.bundle).card)
        ),
        *_store_problems(config),
        *([] if is_running else _damage_of_store(config)),
        *_lock_problems(config, is_running=is_running),
        *_folder_problems(config),
        *_notify_problems(config),
        *([] if is_running else [*_socket_problems(config), *_microscope_problems(config, path)]),
    ]
    return list(dict.fromkeys(found))  # a wrong encoder bundle is found by three of the checks


def find_plate_problems(path: Path | None) -> list[str]:
    """Return every problem of a plate map or assay in the drop folder of a configuration file.

    Such a problem affects one plate. The service starts and processes the other plates. The list is
    empty if the configuration or the folder has a problem, which :func:`find_start_problems`
    returns.

    Parameters
    ----------
    path
        The configuration file; None for the default settings.
    """
    try:
        folder = load_config(path).source.path
    except ConfigError:
        return []
    if not (folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)):
        return []
    maps = [each for each in read_plate_maps(folder).values() if isinstance(each, SpheroRankError)]
    outside: dict[str, str] = {}
    deque(list_files(folder, outside=outside), maxlen=0)
    links = [f"{path}: {problem}" for path, problem in outside.items()]
    return [*(str(error) for error in (*maps, *wrong_assays(folder))), *links]


def _errors_of(attempt: Callable[[], object]) -> list[str]:
    """Call a function and return the lines of the error that it raises, or an empty list."""
    try:
        attempt()
    except SpheroRankError as error:
        return str(error).splitlines()
    return []


def _source_problems(config: Config) -> Iterator[str]:
    yield from _errors_of(lambda: compile_pattern(config.source.pattern))
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


def _store_problems(config: Config) -> list[str]:
    """Open the store and check that the encoder has embedded every image that is still ranked."""

    def open_and_check() -> None:
        encoder_id = load_bundle(config.encoder.bundle).card.encoder_id
        with closing(open_store(config)) as store:
            check_encoder_switch(config, store, encoder_id)

    return _errors_of(open_and_check)


def _damage_of_store(config: Config) -> list[str]:
    """Return the first damage of the structure of a SQLite file that is not very large."""

    def check_structure() -> None:
        with closing(open_store(config)) as store:
            store.check_structure(STRUCTURE_BYTES)

    return _errors_of(check_structure)


def _lock_problems(config: Config, *, is_running: bool) -> list[str]:
    """Return the problem if another service uses the store, its name or the drop folder."""

    def lock() -> None:
        try:
            lock_for_service(config).close()
        except StoreInUseError as error:
            if not (is_running and error.service == config.publisher.service):
                raise

    return _errors_of(lock)


def _folder_problems(config: Config) -> Iterator[str]:
    written = {"output.rankings": config.output.rankings, "output.logs": config.output.logs}
    if config.source.kind == "micromanager" and config.source.micromanager is not None:
        written |= {"source.micromanager.state": config.source.micromanager.state}
        if config.source.path.is_dir():
            written |= {"source.path": config.source.path}
    for key, folder in written.items():
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            yield (
                f"{key}: {folder} cannot be made: {error.strerror}; "
                "expected a folder that can be written"
            )
        else:
            if not os.access(folder, os.W_OK):
                yield f"{key}: {folder} cannot be written; expected write permission"


def _notify_problems(config: Config) -> list[str]:
    """Return the problem of each channel to people whose URL cannot be used."""
    if not config.notify.is_configured:
        return []
    from daemon.notify.channels import open_channels  # noqa: PLC0415 - apprise is slow to load

    return _errors_of(lambda: open_channels(config.notify, credentials_folder()))


def _is_running(config: Config) -> bool:
    try:
        keys = keys_of_own_client(config)
        inquiries.ask_status(config.publisher.requests, keys, timeout_s=STATUS_TIMEOUT_S)
    except SpheroRankError:
        return False
    return True


def _socket_problems(config: Config) -> list[str]:
    settings = config.publisher
    keys = configured_keys(config)
    return _errors_of(lambda: MessageSockets(settings.events, settings.requests, keys=keys).close())


def _microscope_problems(config: Config, path: Path | None) -> list[str]:
    """Open the microscope in a process of its own, since a camera driver can end the process."""
    section = config.source.micromanager
    if config.source.kind != "micromanager" or section is None:
        return []
    if problems := _errors_of(check_installed):
        return problems
    limit_s = OPENING_S + section.timeout_s
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            acquire_command(path, "check"),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=limit_s,
        )
    except subprocess.TimeoutExpired:
        problem = f"the microscope did not open within {limit_s:g} s; expected it to answer"
        return [f"{section.config}: {problem}"]
    found = done.stdout.splitlines()
    if done.returncode and not found:
        last_line = done.stderr.strip().rpartition("\n")[2] or "nothing"
        problem = f"opening the microscope ended with exit code {done.returncode}"
        return [f"{section.config}: {problem}, saying: {last_line}"]
    return found if done.returncode else []
