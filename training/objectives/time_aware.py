"""Objective ``time_aware``: match two days of an untreated well, and predict the days between.

The first part, NT-Xent, pulls the days of a well together and pushes other wells away. Alone it
would remove growth from the embedding, so in the second part a linear layer predicts the number of
days between two images from the difference of their features.
"""

from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import ConfigError
from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective
from training.objectives.settings import ObjectiveSettings
from training.objectives.simclr import make_nt_xent_loss, make_projection_head


class TimeAware(Objective):
    """The objective ``time_aware``: NT-Xent between two days of a well, and the days apart."""

    name = "time_aware"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        self.needs = BatchNeeds(views=1, day_pairs=True, untreated_pairs=True)
        self.head = make_projection_head(dimension, settings)
        # Without bias, so that the days back are minus the days forth, and 0 for the same image.
        self.gap = nn.Linear(dimension, 1, bias=False)
        self.nt_xent = make_nt_xent_loss(settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the weighted sum, ``pair`` and ``gap``.

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
