"""The final ranking of a plate whose readout deadline passed without a readout to rank."""

from collections.abc import Sequence
from datetime import datetime

from daemon.due_days import Due
from inference.departure.assembly import refused_wells
from inference.departure.measuring_methods import main_method
from schemas.observation import Observation
from schemas.ranking import Gate, LeftOut, Ranking, RankingQuality, Scale, WellRank
from schemas.trajectory import Representation

NO_IMAGE = "no image of day {day} was stored by the readout deadline"
NO_READOUT_NOTE = (
    "The plate has no readout and no treatment is ranked: {reason}. Images that arrive later make "
    "the next revision."
)


def ranking_without_readout(
    due: Due,
    reason: str,
    observations: Sequence[Observation] = (),
    *,
    representation: Representation,
    encoder_id: str,
    code_version: str,
    config_digest: str,
    created_at: datetime,
) -> Ranking:
    """Return the final Ranking of a Due readout day without treatments, with the reason.

    Its method is that of the earlier rankings of the run, else ``departure``. The other parameters
    are the fields of the ranking.

    Parameters
    ----------
    observations
        The selected observation of each well and day, for the refused wells and the doubts about
        outlines.
    """
    unsure = {seen.key.well: seen.unsure for seen in observations if seen.day == due.day}
    plate_map = due.plate_map
    left_out = {**refused_wells(observations, plate_map, due.day), **due.excluded}
    imaged = {image.key.well for image in due.images if image.day == due.day}
    return Ranking(
        treatments=(),
        wells=tuple(
            WellRank(
                well=entry.well,
                group=entry.group,
                treatment=entry.treatment,
                efficacy_rank=None,
                scale_position=None,
                score=None,
                condition=None,
                deterioration_percent=None,
                deterioration_low=None,
                deterioration_high=None,
                flags=(),
                unsure=unsure.get(entry.well, ()),
            )
            for entry in plate_map.entries
        ),
        scale=Scale(x=None, n=0),
        quality=RankingQuality(
            gate=Gate.NO_READOUT,
            reasons=(reason,),
            z_prime=None,
            ssmd=None,
            edge_effect=None,
            row_effect=None,
            column_effect=None,
            left_out=tuple(LeftOut(well=well, reason=why) for well, why in left_out.items()),
            missing_images=tuple(
                well
                for well in plate_map.wells_with_tissue
                if well not in imaged and well not in due.excluded
            ),
        ),
        notes=(*plate_map.notes, NO_READOUT_NOTE.format(reason=reason)),
        plate=plate_map.plate,
        day=due.day,
        seeded_at=plate_map.seeded_at,
        run=plate_map.run,
        revision=due.revision,
        final=True,
        replaces=due.previous.revision if due.previous else None,
        created_at=created_at,
        method=due.follows.method if due.follows else "departure",
        representation=representation,
        encoder_id=encoder_id,
        measured_by=main_method(due.images, plate_map, due.day),
        code_version=code_version,
        config_digest=config_digest,
        inputs_digest=due.inputs_digest,
        specimen=plate_map.specimen,
    )
