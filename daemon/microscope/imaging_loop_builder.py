"""Build the imaging loop of a microscope with its queue, alerts, orders and plate changer."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from acquisition.microscope.imaging_requests import open_imaging_requests
from acquisition.microscope.operator_orders import OperatorOrders
from acquisition.microscope.plate_loaders import PlateLoader
from acquisition.microscope.preview_requests import PreviewRequests
from acquisition.microscope.settings import MicroscopeSettings
from acquisition.ports import Microscope
from daemon.config_sections import MicromanagerSection
from daemon.microscope.active_alerts import ActiveAlerts
from daemon.microscope.archived_plate_maps import ArchivedPlateMaps
from daemon.microscope.driver_watchdog import Watchdog
from daemon.microscope.imaging_loop import ImagingLoop
from daemon.microscope.imaging_queue import ImagingQueue
from daemon.microscope.order_execution import OrderExecution
from daemon.microscope.plate_changer import PlateChanger


def build_imaging_loop(
    *,
    scope: Microscope,
    settings: MicroscopeSettings,
    section: MicromanagerSection,
    archive: Path,
    loader: PlateLoader,
    watchdog: Watchdog,
    emit: Callable[..., None],
    stop_signals: list[int],
    wait: Callable[[float], None],
    clock: Callable[[], datetime],
    elapsed_s: Callable[[], float],
) -> ImagingLoop:
    """Return the ImagingLoop of a microscope and loader, with its queue, alerts and plate changer.

    Parameters
    ----------
    loader
        Puts plates under the microscope.
    emit
        Is called with the name and fields of each event.

    The others are those of :class:`ImagingLoop`.
    """
    alerts = ActiveAlerts(emit)
    requests = open_imaging_requests(section.state)
    plate_maps = ArchivedPlateMaps(archive, alerts, elapsed_s)
    queue = ImagingQueue(
        requests,
        section,
        settings.tries,
        alerts,
        clock,
        elapsed_s,
        has_frame_clock=scope.own_time() is None,
    )
    changer = PlateChanger(loader, section.state / "on_stage", watchdog.report_progress)
    orders = OperatorOrders(section.state)
    return ImagingLoop(
        scope=scope,
        settings=settings,
        section=section,
        archive=archive,
        plate_maps=plate_maps,
        queue=queue,
        changer=changer,
        alerts=alerts,
        orders=OrderExecution(
            orders=orders,
            requests=PreviewRequests(orders.folder / "previews"),
            scope=scope,
            settings=settings,
            queue=queue,
            plate_maps=plate_maps,
            changer=changer,
            alerts=alerts,
            watchdog=watchdog,
            stop_signals=stop_signals,
            wait=wait,
            clock=clock,
        ),
        watchdog=watchdog,
        stop_signals=stop_signals,
        wait=wait,
        clock=clock,
        elapsed_s=elapsed_s,
    )
