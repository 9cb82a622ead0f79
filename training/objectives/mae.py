"""Objective ``mae``: reconstruct the masked patches of an image from the visible ones.

Source: MAE, He et al. 2021, arXiv 2111.06377. The backbone is a vision transformer of timm.
"""

import torch
from lightly.models import utils
from lightly.models.modules import MaskedVisionTransformerDecoderTIMM, MaskedVisionTransformerTIMM
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from schemas.errors import ConfigError
from training.data.batch_plan import Batch
from training.objectives.base import BatchNeeds, Objective
from training.objectives.settings import EmbeddingLayer, ObjectiveSettings

HEAD_WIDTH = 16  # width of one attention head of the decoder


class MAE(Objective):
    """The objective ``mae``; its decoder is not exported."""

    name = "mae"

    def __init__(self, backbone: nn.Module, dimension: int, settings: ObjectiveSettings) -> None:
        super().__init__(backbone, dimension, settings)
        if not isinstance(backbone, VisionTransformer):
            raise ConfigError(
                "objective.name",
                "is 'mae', which needs a vision transformer of three channels and not "
                f"{type(backbone).__name__}; expected, for example, "
                "model.backbone = 'vit_tiny_patch16_224'",
            )
        if settings.layer is not EmbeddingLayer.BACKBONE:
            raise ConfigError(
                "objective.layer",
                f"is '{settings.layer}', and the head of 'mae' predicts patches; "
                "expected 'backbone'",
            )
        self.needs = BatchNeeds(views=1)
        self.patch_px = backbone.patch_embed.patch_size[0]
        self.patches, self.prefix = backbone.patch_embed.num_patches, backbone.num_prefix_tokens
        width = settings.decoder_width
        self.to_decoder = nn.Linear(dimension, width)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            self.patches, width, settings.decoder_depth, width // HEAD_WIDTH, self.prefix
        )
        self.head = nn.Linear(width, 3 * self.patch_px**2)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the losses of a Batch by name: ``loss``, the error on randomly masked patches.

        Each image has a different set of masked patches.
        """
        shown, hidden = utils.random_token_mask(
            (len(batch.first), self.patches),
            self.settings.mask_share,
            mask_class_token=True,
            device=batch.first.device,
        )
        return {"loss": self.masked_loss(batch.first, shown, hidden)}

    def masked_loss(self, images: Tensor, shown: Tensor, hidden: Tensor) -> Tensor:
        """Return the scalar error of images' ``hidden`` patches, predicted from the ``shown`` ones.

        Parameters
        ----------
        shown, hidden
            (B, ·) numbers of the visible and of the masked patches.
        """
        always = torch.arange(self.prefix, device=images.device).expand(len(images), -1)
        visible = torch.cat([always, shown + self.prefix], dim=1)
        tokens = self.to_decoder(self._encoder().encode(images, idx_keep=visible))
        canvas = utils.repeat_token(
            self.decoder.mask_token, (len(images), self.prefix + self.patches)
        ).to(tokens.dtype)
        predicted = self.head(
            utils.get_at_index(
                self.decoder(utils.set_at_index(canvas, visible, tokens)), hidden + self.prefix
            )
        )
        target = utils.get_at_index(utils.patchify(images, self.patch_px), hidden)
        if self.settings.normalised_patches:
            target = utils.normalize_mean_var(target)
        return functional.mse_loss(predicted, target)

    def _encoder(self) -> nn.Module:
        """Return a wrapper of the backbone that processes visible patches only."""
        # The wrapper requires a mask token; only the decoder uses one.
        unused = nn.Parameter(torch.empty(0), requires_grad=False)
        return MaskedVisionTransformerTIMM(
            self.backbone, unused, weight_initialization="skip", pos_embed_initialization="skip"
        )
