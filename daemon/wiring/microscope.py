"""Open the parts that exist only with a microscope."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from acquisition.microscope.imaging_requests import open_imaging_requests
from daemon.alerts import Alerts
from daemon.config import Config, microscope_settings
from daemon.config_sections import MicromanagerSection
from daemon.microscope.acquisition_messages import AcquisitionMessages
from daemon.microscope.driver_watchdog import MAX_STOP_STEP_S
from daemon.microscope.imaging_feedback import ImagingFeedback
from daemon.microscope.imaging_policies import ReimageUnclearWells, ReimageUndecidedTreatments
from daemon.microscope.supervisor import MicroscopeSupervisor, SupervisorLimits
from daemon.microscope.wrong_images import WrongImages
from daemon.wiring.service_clock import now
from store.sql_store import SqlStore

STALL_REPORT_S = 30.0  # the process reports a stall itself
STOP_S = 30.0  # from SIGTERM to SIGKILL of the imaging process, besides the step in which it is


def acquire_command(file: Path | None, *options: str) -> list[str]:
    """Return the command line of the imaging process for a configuration file and options."""
    return [
        sys.executable,
        "-P",
        "-m",
        "daemon",
        "acquire",
        *options,
        *(("--config", str(file.absolute())) if file else ()),
    ]


def open_microscope(
    config: Config, file: Path | None, alerts: Alerts, store: SqlStore
) -> MicroscopeSupervisor | None:
    """Return the supervisor of the imaging process; None without a microscope.

    The first poll of the supervisor starts the process.
    """
    section = _microscope_section(config)
    if section is None:
        return None
    step_s = microscope_settings(config).longest_step_s
    limits = SupervisorLimits(
        silent_s=section.stall_s + step_s + STALL_REPORT_S,
        close_s=STOP_S + min(step_s, MAX_STOP_STEP_S),
    )
    return MicroscopeSupervisor(
        acquire_command(file, "serve"),
        acquire_command(file, "lamp-off"),
        alerts,
        AcquisitionMessages(store, now).publish,
        limits,
        time.monotonic,
    )


def open_imaging_feedback(
    config: Config, store: SqlStore, encoder_id: str, alerts: Alerts
) -> ImagingFeedback | None:
    """Return the feedback that requests second images; None without a microscope."""
    section = _microscope_section(config)
    if section is None:
        return None
    policies = (ReimageUnclearWells(), ReimageUndecidedTreatments(section.most_uncertain))
    requests = open_imaging_requests(section.state)
    return ImagingFeedback(policies, requests, store, encoder_id, alerts, now)


def open_wrong_images(config: Config, store: SqlStore) -> WrongImages | None:
    """Return the part that leaves images of wrong places out; None without a microscope."""
    section = _microscope_section(config)
    return None if section is None else WrongImages(section.state, store)


def imaging_days(config: Config) -> Sequence[int] | None:
    """Return the culture days on which the microscope images plates; None: every day."""
    section = _microscope_section(config)
    return None if section is None else section.acquire_days


def _microscope_section(config: Config) -> MicromanagerSection | None:
    """Return the section of the microscope; None if the service drives none."""
    return config.source.micromanager if config.source.kind == "micromanager" else None
