"""Open the source of well images of a configuration: the drop folder."""

from acquisition.daemon_threads import DaemonThreads
from acquisition.drop_folder.in_flight import InFlightJournal
from acquisition.drop_folder.source import READER_THREADS, DropFolder, DropFolderSettings
from acquisition.microscope.archive_names import is_other_image
from daemon.closed_plates import StoredClosedPlates
from daemon.config import Config
from daemon.heartbeat import Heartbeat, LoopClock
from daemon.source_thread import SourceThread
from daemon.stages import NoteStage, TimedReads
from daemon.wiring.service_clock import now
from store.sql_store import SqlStore

SOURCE_PATIENCE_S = 30.0  # without an answer of the source's file system, at most stall_s / 2


def source_settings(config: Config, *, once: bool = False) -> DropFolderSettings:
    """Return the settings of the drop folder from the configuration."""
    source = config.source
    return DropFolderSettings(
        once=once,
        is_skipped=is_other_image if source.kind == "micromanager" else None,
        **source.model_dump(exclude={"kind", "micromanager"}),
    )


def open_source(
    config: Config,
    store: SqlStore,
    in_flight: InFlightJournal,
    heartbeat: Heartbeat,
    basis: str,
    note_stage: NoteStage,
    *,
    once: bool,
) -> SourceThread:
    """Return the drop folder of a configuration, on a thread of its own.

    ``basis`` is that of the states of plates, as :func:`daemon.plate_states.basis_of` returns it.
    """
    progress = LoopClock()
    folder = DropFolder(
        source_settings(config, once=once),
        store,
        closed=StoredClosedPlates(store, basis),
        in_flight=in_flight,
        pool=TimedReads(DaemonThreads(READER_THREADS, "read"), note_stage),
        progress=progress.touch,
    )
    patience_s = min(SOURCE_PATIENCE_S, config.publisher.stall_s / 2)
    return SourceThread(folder, progress, heartbeat, patience_s=patience_s, once=once, now=now)


def open_in_flight_journal(config: Config) -> InFlightJournal:
    """Return the journal of the images in process, in the folder of rankings, which is made."""
    config.output.rankings.mkdir(parents=True, exist_ok=True)
    return InFlightJournal(config.output.rankings / ".in_flight.json")
