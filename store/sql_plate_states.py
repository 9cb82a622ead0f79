"""SQL implementation of :class:`store.ports.PlateStateStore`."""

from collections.abc import Mapping

from sqlalchemy import and_, func, select

from schemas.plate_state import PlateState, StoredPlateState
from store.sql_part import SqlPart
from store.tables import plate_changes, plate_maps, plate_states


class SqlPlateStates(SqlPart):
    """The states of plates, and the plates that are not closed."""

    def live_plates(self, basis: str) -> Mapping[str, int]:
        """Return each plate with a map that is not closed, with its number of changes."""
        changes = func.coalesce(plate_changes.c.changes, 0)
        is_closed = and_(
            plate_states.c.service == self._service,
            plate_states.c.plate == plate_maps.c.plate,
            plate_states.c.state == PlateState.CLOSED,
            plate_states.c.basis == basis,
            plate_states.c.changes == changes,
        )
        query = (
            select(plate_maps.c.plate, changes.label("number"))
            .select_from(
                plate_maps.outerjoin(
                    plate_changes, plate_changes.c.plate == plate_maps.c.plate
                ).outerjoin(plate_states, is_closed)
            )
            .where(plate_states.c.plate.is_(None))
            .distinct()
            .order_by(plate_maps.c.plate)
        )
        with self._database.reading() as connection:
            return {row.plate: row.number for row in connection.execute(query)}

    def closed_plates(self, basis: str) -> Mapping[str, int]:
        """Return each closed plate with its number of changes."""
        query = (
            select(plate_states.c.plate, plate_states.c.changes.label("number"))
            .join(plate_changes, plate_changes.c.plate == plate_states.c.plate, isouter=True)
            .where(
                plate_states.c.service == self._service,
                plate_states.c.state == PlateState.CLOSED,
                plate_states.c.basis == basis,
                plate_states.c.changes == func.coalesce(plate_changes.c.changes, 0),
            )
            .order_by(plate_states.c.plate)
        )
        with self._database.reading() as connection:
            return {row.plate: row.number for row in connection.execute(query)}

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
