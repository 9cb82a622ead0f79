"""Time-aware: two days of one untreated well find each other in the batch, and how many days lie between them stays readable.

The first half pulls the days of a well together against all other wells: what makes this spheroid this spheroid. Alone it would teach the network to
overlook growth; so a linear reading of the difference of the two embeddings has to give the days between them.
"""

from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import ConfigError
from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective, ObjectiveSettings
from training.objectives.simclr import make_nt_xent_loss, make_projection_head


class TimeAware(Objective):
    """NT-Xent between two days of a well, and the days apart as a target."""

    name = "time_aware"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.needs = BatchNeeds(views=1, day_pairs=True, untreated_pairs=True)
        self.head = make_projection_head(dimension, settings)
        # Without bias, so that the days back are minus the days forth, and 0 for the same image.
        self.gap = nn.Linear(dimension, 1, bias=False)
        self.nt_xent = make_nt_xent_loss(settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the weighted sum of ``pair`` and ``gap``.

        Raises
        ------
        ConfigError
            If the batch has no second day.
        """
        if batch.later is None or batch.days_apart is None:
            raise ConfigError(
                "objective.name",
                "is 'time_aware', and no well has images of two days; "
                "expected an archive with at least two days of a well",
            )
        first, later = self.backbone_features(batch.first, batch.later.first)
        pair = self.nt_xent(self.head(first), self.head(later))
        days = batch.days_apart.to(first.dtype) / self.settings.gap_days
        gap = functional.smooth_l1_loss(self.gap(later - first)[:, 0], days)
        return {"loss": pair + self.settings.gap_weight * gap, "pair": pair, "gap": gap}
