"""SQL implementation of :class:`store.ports.PlateStateStore`."""

from collections.abc import Mapping, Sequence

from sqlalchemy import Select, and_, bindparam, func, select

from schemas.closed_folder import ClosedFolder
from schemas.plate_state import PlateState, StoredPlateState
from store.sql_part import SqlPart
from store.tables import closed_folders, plate_changes, plate_maps, plate_states

_CHANGES = func.coalesce(plate_changes.c.changes, 0)
_IS_CLOSED = and_(
    plate_states.c.service == bindparam("service"),
    plate_states.c.state == PlateState.CLOSED.value,
    plate_states.c.basis == bindparam("basis"),
    plate_states.c.changes == _CHANGES,
)
# The statements are built once, because the service reads them every few seconds.
_LIVE = (
    select(plate_maps.c.plate, _CHANGES.label("number"))
    .select_from(
        plate_maps.outerjoin(plate_changes, plate_changes.c.plate == plate_maps.c.plate).outerjoin(
            plate_states, and_(plate_states.c.plate == plate_maps.c.plate, _IS_CLOSED)
        )
    )
    .where(plate_states.c.plate.is_(None))
    .distinct()
    .order_by(plate_maps.c.plate)
)
_CLOSED = (
    select(plate_states.c.plate, plate_states.c.changes.label("number"))
    .outerjoin(plate_changes, plate_changes.c.plate == plate_states.c.plate)
    .where(_IS_CLOSED)
    .order_by(plate_states.c.plate)
)


class SqlPlateStates(SqlPart):
    """The states of plates, and the plates that are not closed."""

    def live_plates(self, basis: str) -> Mapping[str, int]:
        """Return each plate with a map that is not closed, with its number of changes."""
        return self._numbers(_LIVE, basis)

    def closed_plates(self, basis: str) -> Mapping[str, int]:
        """Return each closed plate with its number of changes."""
        return self._numbers(_CLOSED, basis)

    def _numbers(self, query: Select[tuple[str, int]], basis: str) -> dict[str, int]:
        values = {"service": self._service, "basis": basis}
        with self._database.reading() as connection:
            return {row.plate: row.number for row in connection.execute(query, values)}

    def save_plate_state(self, plate: str, state: StoredPlateState) -> None:
        """Store the state of a plate (id) in place of an earlier one."""
        values = {
            "run": state.run,
            "state": state.state,
            "changes": state.changes,
            "basis": state.basis,
            "at": state.at,
        }
        row = {"service": self._service, "plate": plate} | values
        adding = self._insert(plate_states).values(row)
        with self._database.writing() as connection:
            connection.execute(
                adding.on_conflict_do_update(
                    index_elements=list(plate_states.primary_key), set_=values
                )
            )

    def closed_folders(self) -> Sequence[ClosedFolder]:
        """Return the stored ClosedFolders of this service, ordered by path."""
        query = (
            select(closed_folders)
            .where(closed_folders.c.service == self._service)
            .order_by(closed_folders.c.path)
        )
        with self._database.reading() as connection:
            return [
                ClosedFolder(row.path, row.fingerprint, frozenset(row.plates))
                for row in connection.execute(query)
            ]

    def save_closed_folder(self, folder: ClosedFolder) -> None:
        """Store a ClosedFolder in place of an earlier one with its path."""
        values = {"fingerprint": folder.fingerprint, "plates": sorted(folder.plates)}
        row = {"service": self._service, "path": folder.path} | values
        adding = self._insert(closed_folders).values(row)
        with self._database.writing() as connection:
            connection.execute(
                adding.on_conflict_do_update(
                    index_elements=list(closed_folders.primary_key), set_=values
                )
            )
