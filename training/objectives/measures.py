"""Hand measures as teachers: what was measured on the clean image is to be read off the embedding of the augmented one. No label enters.

Day pairs add the change: the difference of two days' predictions is compared with the measured change, so that an error that a
well carries on both days does not count against it, and one that hides the change does. SimCLR or VICReg may accompany it, at a small weight.
"""

from torch import Tensor, nn
from torch.nn import functional

from inference.ranked_measures import RANKED
from training.batches import Batch
from training.objectives.base import Companion, Needs, Objective, ObjectiveSettings
from training.objectives.simclr import nt_xent, projection_head
from training.objectives.vicreg import vicreg_loss


def masked_error(predicted: Tensor, measured: Tensor, known: Tensor) -> Tensor:
    """Return the mean Huber error (Huber 1964) of (B, M) over the (B,) images that are known; 0 if there is none."""
    errors = functional.smooth_l1_loss(predicted, measured, reduction="none").mean(dim=1)
    return (errors * known).sum() / known.sum().clamp(min=1)


class Measures(Objective):
    """Predict the standardised measures, and on day pairs their change."""

    name = "measures"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        alone = settings.companion is Companion.NONE
        self.needs = Needs(views=1 if alone else 2, day_pairs=settings.change_weight > 0, within_plate=True)
        width = settings.measures_hidden
        last = nn.Linear(width or dimension, len(RANKED))
        self.head = nn.Sequential(nn.Linear(dimension, width), nn.ReLU(), last) if width else last
        if not alone:
            self.projection = projection_head(dimension, settings)
            self.companion = nt_xent(settings) if settings.companion is Companion.SIMCLR else vicreg_loss(settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the sum, and ``measures``, ``change`` and ``companion`` before their weights."""
        views = [batch.first] if self.needs.views == 1 else [batch.first, batch.second]
        later = batch.later if self.settings.change_weight > 0 else None
        features = self.features(*views, *([] if later is None else [later.first]))
        predicted = [self.head(each) for each in features]
        of_views = [masked_error(each, batch.measures, batch.has_measures) for each in predicted[: len(views)]]
        parts = {"measures": sum(of_views) / len(of_views)}
        total = parts["measures"]
        if later is not None:
            known = batch.has_measures & later.has_measures
            parts["measures"] = (parts["measures"] + masked_error(predicted[-1], later.measures, later.has_measures)) / 2
            parts["change"] = masked_error(predicted[-1] - predicted[0], later.measures - batch.measures, known)
            total = parts["measures"] + self.settings.change_weight * parts["change"]
        if self.needs.views > 1:
            parts["companion"] = self.companion(self.projection(features[0]), self.projection(features[1]))
            total = total + self.settings.companion_weight * parts["companion"]
        return {"loss": total, **parts}
