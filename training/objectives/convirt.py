"""Objective ``convirt``: an image finds its record in the batch, and a record finds its image.

Source: ConVIRT, Zhang et al. 2020, arXiv 2010.00747, equations 1 to 4. The record takes the place
of the radiology report, and a small recurrent network that is trained along takes the place of the
pretrained text encoder. Its outputs are pooled by their maximum, as in the paper. The whole record
is read, not one random sentence of it: one finding alone fits many images. Only the image encoder
is exported.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.data.batch_plan import Batch
from training.data.records import PADDING, RecordContent
from training.objectives.base import BatchNeeds, Objective, gather_from_processes
from training.objectives.settings import ObjectiveSettings, RecordForm
from training.objectives.simclr import make_projection_head


class TextEncoder(nn.Module):  # type: ignore[misc] # torch is not typed here
    """Word embeddings and a gated recurrent unit: (B, L) numbers of words → (B, width)."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width, padding_idx=PADDING)
        self.recurrent = nn.GRU(width, width, batch_first=True)

    def forward(self, words: Tensor) -> Tensor:
        """Return the maximum of the outputs over the words of each text; −1 without words."""
        outputs, _ = self.recurrent(self.embedding(words))  # (B, L, width), above −1
        return outputs.masked_fill((words == PADDING)[:, :, None], -1.0).amax(dim=1)


def bidirectional_loss(
    images: Tensor, records: Tensor, temperature: float, image_to_record_weight: float
) -> Tensor:
    """Return the scalar loss of equation 4 for n pairs of an image and a record.

    It is the weighted sum of two cross-entropies over cosines: of the record of each image among
    all records, and of the image of each record among all images. Without two pairs it is 0.

    Parameters
    ----------
    images, records
        Projections, (n, D); row i of both is pair i.
    """
    if len(images) < 2:  # noqa: PLR2004 - one pair has nothing to be compared with
        return (images.sum() + records.sum()) * 0
    similarity = functional.normalize(images) @ functional.normalize(records).T / temperature
    own = torch.arange(len(images), device=images.device)
    find_record = functional.cross_entropy(similarity, own)
    find_image = functional.cross_entropy(similarity.T, own)
    return image_to_record_weight * find_record + (1 - image_to_record_weight) * find_image


class ConVIRT(Objective):
    """The objective ``convirt``; with ``record = "numbers"`` a perceptron reads the same facts."""

    name = "convirt"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        content = RecordContent(
            settings.record_treatment, settings.record_assay, settings.vocabulary
        )
        self.needs = BatchNeeds(views=1, record=content)
        self.head = make_projection_head(dimension, settings)
        width = settings.record_width
        self.reads_words = settings.record is RecordForm.TEXT
        self.record_encoder = (
            TextEncoder(settings.vocabulary, width)
            if self.reads_words
            else nn.Sequential(
                nn.Linear(content.number_count, settings.hidden),
                nn.ReLU(),
                nn.Linear(settings.hidden, width),
            )
        )
        self.record_head = make_projection_head(width, settings)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, over the images that have a record.

        Images and records of all processes are compared.
        """
        images = gather_from_processes(self.head(self.backbone(batch.first)))
        content = batch.record_words if self.reads_words else batch.record_numbers
        records = gather_from_processes(self.record_head(self.record_encoder(content)))
        has_record = gather_from_processes((batch.record_words != PADDING).any(dim=1))
        return {
            "loss": bidirectional_loss(
                images[has_record],
                records[has_record],
                self.settings.temperature,
                self.settings.image_to_record_weight,
            )
        }
