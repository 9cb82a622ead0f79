"""``spherorank check``: everything a start needs, tried for real, every problem collected."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from acquisition.assay_files import wrong_assays
from acquisition.naming import compile_pattern
from acquisition.plate_map_files import read_plate_maps
from daemon import inquiries, wiring
from daemon.config import Config, load_config
from daemon.publisher import Publisher
from daemon.requests import Requests
from inference.bundle import load_bundle
from schemas.errors import ConfigError, SpheroRankError


def problems_with(path: Path | None) -> list[str]:
    """Return every problem found, each naming file, key or address, the value and what was expected; empty if the service can start."""
    try:
        config = load_config(path)
    except ConfigError as error:
        return [f"{where}: {problem}" for where, problem in error.problems]
    found = [
        *_source(config),
        *_refused(lambda: wiring.open_encoder(config)),
        *_refused(lambda: wiring.open_segmenter(config)),
        *_refused(lambda: wiring.open_rank_settings(config, load_bundle(config.encoder.bundle).card)),
        *_store(config),
        *_folders(config),
        *_sockets(config),
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
        yield f"source.path: {folder} is no folder; expected the robot's drop folder"
        return
    if not os.access(folder, os.R_OK | os.X_OK):
        yield f"source.path: {folder} cannot be read; expected read permission"
        return
    for result in read_plate_maps(folder).values():
        if isinstance(result, SpheroRankError):
            yield str(result)
    yield from map(str, wrong_assays(folder))


def _store(config: Config) -> list[str]:
    return _refused(lambda: wiring.open_store(config).close())


def _folders(config: Config) -> Iterator[str]:
    for key, folder in (("output.rankings", config.output.rankings), ("output.logs", config.output.logs)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            yield f"{key}: {folder} cannot be made: {error.strerror}; expected a folder that can be written"
        else:
            if not os.access(folder, os.W_OK):
                yield f"{key}: {folder} cannot be written; expected write permission"


def _sockets(config: Config) -> list[str]:
    with suppress(SpheroRankError):
        inquiries.ask_status(config.publisher.requests, timeout_s=0.5)
        return []  # the service itself is running and holds its sockets
    return [
        *_refused(lambda: Publisher(config.publisher.events).close()),
        *_refused(lambda: Requests(config.publisher.requests).close()),
    ]
