"""Card, notices and preprocessing in the bundle of a trained encoder."""

from schemas.encoder_bundle import Preprocessing, describe_ranking_weight
from training.data.batch_plan import BatchPlan
from training.data.sources import CropSplit
from training.encoder.config import EncoderTrainingConfig
from training.encoder.export import NOTICE, BundleDescription, read_licence
from training.encoder.names import IMAGENET_WEIGHTS
from training.encoder.validation import Validation

CARD_TEMPLATE = """\
# {name}

An image encoder: {backbone} (initial weights: {weights}), trained on well images with the objective
`{objective}`.

- Made by: `spherorank train ssl`, {steps} steps of {batch} images, seed {seed}; the configuration
  is below.
- Trained on: {images} images of {plates} plates, {effects}.
- Input: planes `{planes}` as channels, {side} × {side} pixels of the central {field:g} µm;
  `bundle.json` has every preprocessing step.
- Validated on {held_out} images of other {units}: effective rank {rank:.1f}, spread {spread:.3f},
  R² of the tissue measures predicted from the embedding {r2}.
- Influence: {weight}.
- Use: `encoder.bundle` of the service; `spherorank evaluate` compares it with others. For research
  use only.

```json
{config}
```
"""


def describe_bundle(
    config: EncoderTrainingConfig,
    plan: BatchPlan,
    split: CropSplit,
    validation: Validation,
) -> BundleDescription:
    """Return the BundleDescription of an encoder from its configuration, data and validation."""
    data, model = config.data, config.model
    starts_from_imagenet = model.weights == IMAGENET_WEIGHTS
    notice = (
        f"{NOTICE}Changed further: trained on well images.\n"
        if starts_from_imagenet
        else f"encoder.onnx: {model.name}, licence: {model.licence}.\n"
    )
    return BundleDescription(
        name=model.name,
        preprocessing=Preprocessing(
            planes=data.planes,
            field_um=data.field_um,
            background=data.background,
            mean=plan.mean,
            std=plan.std,
        ),
        input_size=model.export_size or model.input_size,
        provenance=f"spherorank train ssl, {config.model_dump_json()}",
        licence=model.licence,
        licence_text=read_licence("timm") if starts_from_imagenet else f"{model.licence}\n",
        notice=f"{notice}\n{model.notice.strip()}\n" if model.notice else notice,
        model_card=_fill_card(config, split, validation),
        ranking_weight=model.ranking_weight,
    )


def _describe_effects(config: EncoderTrainingConfig) -> str:
    """Return the words of the card on assays, which are labels of the effect of a treatment."""
    if config.objective.name == "convirt" and config.objective.record_assay:
        return "with viability assays in the records of the images"
    return "without a label of the effect of a treatment"


def _fill_card(config: EncoderTrainingConfig, split: CropSplit, validation: Validation) -> str:
    data, model, run, training = config.data, config.model, config.run, split.training
    return CARD_TEMPLATE.format(
        name=model.name,
        backbone=model.backbone,
        weights=model.weights,
        objective=config.objective.name,
        steps=run.steps,
        batch=run.batch,
        seed=run.seed,
        images=sum(len(plate) for plate in training),
        plates=len({plate.plate for plate in training}),
        effects=_describe_effects(config),
        planes=data.planes,
        side=model.export_size or model.input_size,
        field=data.field_um,
        held_out=validation.images,
        units="wells of the same plate" if split.shared_plate else "plates",
        weight=describe_ranking_weight(model.ranking_weight),
        rank=validation.rank,
        spread=validation.spread,
        r2="not known" if validation.measures_r2 is None else f"{validation.measures_r2:.2f}",
        config=config.model_dump_json(indent=2),
    )
