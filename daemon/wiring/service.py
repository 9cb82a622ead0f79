"""Open every part of the service in order, and close the parts in reverse order."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path

import cv2
from threadpoolctl import threadpool_limits

from daemon.alerts import Alerts
from daemon.config import Config, systemd_socket
from daemon.health import MIGRATION_EXTENDS_START, sd_notify
from daemon.heartbeat import Heartbeat, LoopClock
from daemon.image_queue import ImageQueue
from daemon.metrics import Metrics
from daemon.missing_images import MissingImages
from daemon.plate_inputs import PlateInputs
from daemon.plate_runs import PlateRuns
from daemon.plate_states import PlateStates, basis_of
from daemon.processing_limit import ProcessingLimit
from daemon.retention import DailyPruning, open_retention
from daemon.scale_check import ScaleCheck
from daemon.service import Service
from daemon.steady_clock import ClockWatch
from daemon.wiring import service_clock
from daemon.wiring.images import open_crash_examination, open_images, open_measuring_again
from daemon.wiring.messages import open_deliveries, open_messages, open_notifications
from daemon.wiring.microscope import (
    imaging_days,
    open_imaging_feedback,
    open_microscope,
    open_wrong_images,
)
from daemon.wiring.monitoring import (
    new_status,
    open_health_page,
    open_level_meter,
    publish_status_metrics,
    status_snapshot,
)
from daemon.wiring.networks import open_encoder
from daemon.wiring.rankings import open_days, open_specimens
from daemon.wiring.source import open_in_flight_journal, open_source
from daemon.wiring.store import check_encoder_switch, check_store, lock_for_service, open_store

SWITCH_INTERVAL_S = 0.0005
"""Longest time for which a thread that waits for the lock of the interpreter does not get it.

With the usual 5 ms, the main loop would wait for the workers after each statement of the store.
"""
MEASURING_JOBS = 2  # worker processes of the service that measure images again


@contextmanager
def open_service(
    config: Config,
    *,
    file: Path | None = None,
    once: bool = False,
    stop_signals: Sequence[int] = (),
) -> Iterator[Service]:
    """Context manager that opens every part of the service in order, and yields the Service.

    The parts are closed in reverse order.

    Parameters
    ----------
    file
        The file of the configuration; the imaging process reads it again.
    once
        Whether the service ends when everything present is processed; no microscope is driven then.
    stop_signals
        Signal handlers append to it; the service stops when it is not empty.
    """
    with ExitStack() as stack:
        _limit_threads(stack)
        notify_systemd = partial(sd_notify, address=systemd_socket())
        lock = stack.enter_context(closing(lock_for_service(config)))
        store = open_store(
            config, before_migration=partial(notify_systemd, MIGRATION_EXTENDS_START)
        )
        stack.callback(store.close)
        alerts, metrics, loop_clock = Alerts(store, service_clock.now), Metrics(), LoopClock()
        messages = open_messages(config, alerts)  # starts while the encoder is opened
        stack.callback(messages.stop, timeout_s=10.0)
        encoder = open_encoder(config)
        check_encoder_switch(config, store, encoder.encoder_id)
        microscope = None if once else open_microscope(config, file, alerts, store)
        status = new_status(config, store, encoder.encoder_id, microscope, alerts)
        heartbeat = Heartbeat(
            loop_clock=loop_clock,
            stop_signals=stop_signals,
            checks=(
                partial(check_store, store, lock, alerts),
                messages.poll,
                *((microscope.poll,) if microscope else ()),
            ),
            notify_systemd=notify_systemd,
        )
        in_flight = stack.enter_context(open_in_flight_journal(config))
        again = open_measuring_again(
            config,
            store,
            jobs=MEASURING_JOBS,
            tick=heartbeat.tick,
            is_source_gone=lambda: source.status(service_clock.now()).gone is not None,
        )
        days = open_days(
            config,
            store,
            encoder.card,
            alerts,
            tick=heartbeat.tick,
            measure_again=again.bring_up_to_date,
        )
        basis = basis_of(days.settings, encoder.encoder_id)
        source = open_source(
            config, store, in_flight, heartbeat, basis, metrics.note_stage, once=once
        )
        stack.callback(source.close)
        scales = ScaleCheck(source, store, encoder.encoder_id, alerts)
        limit = ProcessingLimit(config.encoder.timeout_s)
        runs = PlateRuns(store, days.settings.readout_deadline, alerts)
        states = PlateStates(store, days.due_days, alerts, basis, service_clock.now)
        images = open_images(config, store, encoder, days.settings, runs, metrics)
        queue = ImageQueue(source, images.analyse, config.encoder.workers or _usable_cores(), limit)
        stack.callback(queue.close)
        service = Service(
            source=source,
            queue=queue,
            store=store,
            inputs=PlateInputs(
                source, store, runs, days.calibrations, scales, alerts, service_clock.now
            ),
            scales=scales,
            images=images,
            days=days,
            states=states,
            missing_images=MissingImages(store, days.due_days, alerts, imaging_days(config)),
            specimens=open_specimens(config, store, alerts),
            deliveries=open_deliveries(config, store, alerts),
            pruning=DailyPruning(open_retention(config, store, service_clock.now)),
            notifications=open_notifications(config, alerts, status.started_at),
            alerts=alerts,
            metrics=metrics,
            status=status,
            heartbeat=heartbeat,
            clock=service_clock.now,
            clock_watch=ClockWatch(service_clock.CLOCK, alerts),
            processing_limit=limit,
            notify_systemd=notify_systemd,
            level_meter=open_level_meter(config, store, states, alerts),
            publish_now=messages.publish_now,
            imaging_feedback=open_imaging_feedback(config, store, encoder.encoder_id, alerts),
            wrong_images=open_wrong_images(config, store),
            crash_examination=open_crash_examination(config, store, in_flight),
        )
        messages.serve(partial(status_snapshot, status, loop_clock))
        publish_status_metrics(metrics, status, encoder.provider, loop_clock)
        open_health_page(config, metrics, status, store, loop_clock, stack)
        if microscope:
            stack.callback(microscope.close)
        yield service


def _limit_threads(stack: ExitStack) -> None:
    """Limit the threads of numerical libraries, and shorten the waits for the interpreter.

    The stack removes the limit of BLAS.
    """
    # Small arrays: several BLAS threads in one product are slower than one.
    stack.enter_context(threadpool_limits(1, user_api="blas"))
    cv2.setNumThreads(1)  # several images are analysed at once, each on one thread
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def _usable_cores() -> int:
    """Return the number of processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
