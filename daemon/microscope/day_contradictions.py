"""Report archived images whose time contradicts the culture day of their folder."""

from acquisition.microscope.day_rule import DayRule, DayState
from daemon.alerts import Alerts
from schemas.messages import AlertKind
from schemas.plate_map import PlateMap
from schemas.well_image import WellImage


def report_other_day(image: WellImage, plate_map: PlateMap, alerts: Alerts) -> None:
    """Raise an alert if an image was not taken on the culture day that its folder names.

    The image is stored with the day of its folder and the flag ``day_disagrees``. There is one
    alert for each plate, day of a folder and day of taking. An image that was taken up to three
    hours after midnight has the flag only: a started day is finished then.
    """
    if image.taken_at is None or image.day_from_time:
        return
    rule = DayRule(plate_map, image.day, lambda: True)
    if rule.state(image.taken_at) is DayState.OPEN:
        return
    taken_on = plate_map.culture_day(image.taken_at)
    plate, path = plate_map.plate, image.files[0].path
    alerts.raise_once(
        AlertKind.PLATE_MAP,
        f"{plate} {plate_map.seeded_at.isoformat()} day {image.day} taken on {taken_on}",
        f"plate {plate}: {path} is in the folder of day {image.day}, but was taken on culture day "
        f"{taken_on} ({image.taken_at.isoformat(timespec='seconds')}). It counts as an image of "
        f"day {image.day} and has the flag day_disagrees, as all such images. Check seeded_at; if "
        f"it is right, move these files to the folder of day {taken_on}",
        plate,
    )
