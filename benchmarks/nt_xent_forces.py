"""Examine the gradients of NT-Xent: the effect of its denominator, and which images become similar.

    python -m benchmarks.nt_xent_forces

Four parts, all on readout images of virtual plates, reduced to 64 principal components:

1. The share of the push on a view that comes from its most similar negatives, for three
   temperatures, computed by automatic differentiation. It has to equal the softmax of the cosines.
2. A network that is trained with the whole loss, with a denominator without gradient, and with the
   positives alone. Without gradients of the denominator, all images become equal.
3. Images that are never a pair: the two wells of a plate with the nearest measures, and wells of
   one treatment. Their cosine is compared with that of random wells, for a network and for a table
   that has one free vector for each image. The wells of one plate are not in the training.
4. Batches of several sizes, with the same number of images in each training, as the mean of three
   seeds. The cosines are those of part 3, on the plate that is not in the training.
"""

import argparse
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.small_plates import labelled_images, mixed_plates
from training.data.augmentation import augment, draw_augmentations
from training.data.presets import get_preset
from training.evaluation.plates import EvaluationPlate
from training.evaluation.thesis_baseline import BACKGROUND

SIDE_PX, COMPONENTS, WIDTH = 48, 64, 32
VIEWS = 8
"""Augmented views of each image, made once."""
TEMPERATURES = (0.05, 0.2, 1.0)
STEPS, BATCH, RATE = 400, 64, 3e-3
BATCHES, SEEDS = (4, 16, 64, 128), (0, 1, 2)
NEAREST_SHARE = 0.1

Loss = Callable[[Tensor, Tensor], Tensor]


class Images(NamedTuple):
    """Views of n images as principal components, and which images are alike."""

    views: Tensor  # (views, n, components)
    measures: Tensor  # (n, M) in spreads of the plate
    plate: Tensor  # (n,)
    treatment: list[str]


def nt_xent(unit: Tensor, partner: Tensor, temperature: float, *, detach: bool = False) -> Tensor:
    """Return the NT-Xent loss of unit vectors, (n, D), with the number of the partner of each row.

    With ``detach``, the denominator has no gradient.
    """
    similarity = unit @ unit.T / temperature
    itself = torch.eye(len(unit), dtype=torch.bool)
    denominator = similarity.masked_fill(itself, -torch.inf).logsumexp(dim=1)
    if detach:
        denominator = denominator.detach()
    own = similarity.gather(1, partner[:, None])[:, 0]
    return (denominator - own).mean()


def pair_partner(count: int) -> Tensor:
    """Return the number of the other view of each row, for two stacked views of images."""
    numbers = torch.arange(count)
    return torch.cat([numbers + count, numbers])


def load_images(plates: list[EvaluationPlate]) -> Images:
    """Return augmented views of the readout images of plates, reduced to principal components."""
    pixels = labelled_images(plates, SIDE_PX).pixels
    how = get_preset("spheroid")
    views = torch.stack(
        [
            augment(
                pixels,
                draw_augmentations(how, len(pixels), torch.Generator().manual_seed(number)),
                BACKGROUND,
            ).flatten(1)
            for number in range(VIEWS)
        ]
    )
    centred = views - views.mean(dim=(0, 1))
    _, sizes, directions = torch.linalg.svd(centred.flatten(0, 1), full_matrices=False)
    scale = sizes[0] / len(centred.flatten(0, 1)) ** 0.5
    measures = np.concatenate(
        [
            (plate.measures[:, -1] - np.nanmedian(plate.measures[plate.untreated, -1], axis=0))
            / np.nanstd(plate.measures[plate.untreated, -1], axis=0)
            for plate in plates
        ]
    )
    return Images(
        centred @ directions[:COMPONENTS].T / scale,
        torch.from_numpy(np.nan_to_num(measures)),
        torch.tensor([number for number, plate in enumerate(plates) for _ in plate.wells]),
        [f"{plate.name} {name}" for plate in plates for name in plate.treatments],
    )


def push_shares(images: Images, temperature: float) -> tuple[float, float, float]:
    """Return the shares of the push by the nearest 1 % and 10 % of the negatives, and an error.

    The error is the largest difference between the gradient and the formula of the softmax.
    """
    unit = functional.normalize(images.views[:2].flatten(0, 1).double())
    partner, count = pair_partner(len(images.plate)), 2 * len(images.plate)
    similarity = (unit @ unit.T).requires_grad_()
    itself = torch.eye(count, dtype=torch.bool)
    masked = (similarity / temperature).masked_fill(itself, -torch.inf)
    loss = (masked.logsumexp(dim=1) - masked.gather(1, partner[:, None])[:, 0]).mean()
    (gradient,) = torch.autograd.grad(loss, similarity)
    own = torch.nn.functional.one_hot(partner, count)
    formula = (masked.softmax(dim=1) - own) / temperature / count
    negatives = gradient.masked_fill(own.bool() | itself, 0)
    ordered = negatives.sort(dim=1, descending=True).values
    total = ordered.sum(dim=1)
    shares = [
        float((ordered[:, : max(int(part * count), 1)].sum(dim=1) / total).mean())
        for part in (0.01, 0.1)
    ]
    return shares[0], shares[1], float((gradient - formula).detach().abs().max())


def make_network(seed: int = 0) -> nn.Module:
    """Return a perceptron of one hidden layer with the same weights for the same seed."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(COMPONENTS, 128), nn.ReLU(), nn.Linear(128, WIDTH))


def train_network(
    network: nn.Module, views: Tensor, loss: Loss, batch: int = BATCH, seed: int = 1
) -> None:
    """Train a network on pairs of views, (views, n, components); every batch size sees as many."""
    draw = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(network.parameters(), lr=RATE)
    for _ in range(STEPS * BATCH // batch):
        rows = torch.randperm(views.shape[1], generator=draw)[:batch]
        one, other = torch.randperm(len(views), generator=draw)[:2].tolist()
        pair = torch.cat([views[one, rows], views[other, rows]])
        value = loss(functional.normalize(network(pair)), pair_partner(len(rows)))
        optimiser.zero_grad()
        value.backward()
        optimiser.step()


def train_table(views: Tensor) -> Tensor:
    """Return vectors, (n, width), that are free for each image, after a training with NT-Xent.

    They start as the vectors of the untrained network. Both views of an image have its vector with
    a little noise, so only the push is left to learn.
    """
    torch.manual_seed(0)
    table = nn.Parameter(make_network()(views[0]).detach())
    draw = torch.Generator().manual_seed(1)
    optimiser = torch.optim.Adam([table], lr=RATE)
    for _ in range(STEPS):
        rows = torch.randperm(len(table), generator=draw)[:BATCH]
        noise = 0.05 * torch.randn(2, len(rows), WIDTH, generator=draw)
        pair = torch.cat([table[rows] + noise[0], table[rows] + noise[1]])
        value = nt_xent(functional.normalize(pair), pair_partner(len(rows)), 0.2)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
    return table.detach()


class Cosines(NamedTuple):
    """Mean cosines of centred vectors of pairs of wells of one plate, beyond those of all pairs."""

    nearest: float  # the 10 % of pairs with the nearest measures
    replicates: float  # wells of one treatment

    @classmethod
    def of(cls, vectors: Tensor, images: Images, chosen: Tensor) -> "Cosines":
        """Return the Cosines of chosen images, (n,) bool, from vectors of all images, (n, D)."""
        unit = functional.normalize(vectors[chosen] - vectors[chosen].mean(dim=0))
        cosine = unit @ unit.T
        plate, measures = images.plate[chosen], images.measures[chosen]
        names = np.array(images.treatment)[chosen.numpy()]
        pairs = (plate[:, None] == plate) & ~torch.eye(len(plate), dtype=torch.bool)
        apart = (measures[:, None] - measures).square().mean(dim=2)
        near = pairs & (apart <= apart[pairs].quantile(NEAREST_SHARE))
        alike = pairs & torch.from_numpy(names[:, None] == names)
        rest = float(cosine[pairs].mean())
        return cls(float(cosine[near].mean()) - rest, float(cosine[alike].mean()) - rest)


def print_forces(images: Images) -> None:
    """Print the shares of the push, and the check of the formula."""
    print("| temperature | nearest 1 % of the negatives | nearest 10 % | error of the formula |")
    print("|---|---|---|---|")
    for temperature in TEMPERATURES:
        first, tenth, error = push_shares(images, temperature)
        print(f"| {temperature:g} | {first:.0%} | {tenth:.0%} | {error:.0e} |")


def print_denominators(images: Images) -> None:
    """Print the mean cosine of different images after trainings with and without the push."""
    losses: dict[str, Loss] = {
        "NT-Xent": lambda unit, partner: nt_xent(unit, partner, 0.2),
        "denominator without gradient": lambda unit, partner: nt_xent(
            unit, partner, 0.2, detach=True
        ),
        "positives alone": lambda unit, partner: -(unit * unit[partner]).sum(dim=1).mean(),
    }
    print("| loss | cosine of two views | cosine of different images |")
    print("|---|---|---|")
    for name, loss in {"before the training": None, **losses}.items():
        network = make_network()
        if loss is not None:
            train_network(network, images.views, loss)
        with torch.no_grad():
            one, other = (functional.normalize(network(view)) for view in images.views[:2])
        cosines = one @ other.T
        count = len(cosines)
        apart = (cosines.sum() - cosines.trace()) / (count * (count - 1))
        print(f"| {name} | {cosines.trace() / count:.3f} | {apart:.3f} |")


def print_unpaired(images: Images) -> None:
    """Print how much more similar wells that are alike are than other wells of their plate."""
    everything = torch.ones_like(images.plate, dtype=torch.bool)
    unseen = images.plate == images.plate.max()
    network = make_network()
    with torch.no_grad():
        before = network(images.views[0])
    train_network(network, images.views[:, ~unseen], lambda u, p: nt_xent(u, p, 0.2))
    with torch.no_grad():
        after = network(images.views[0])
    rows = {
        "network, before": (before, ~unseen),
        "network, trained images": (after, ~unseen),
        "network, images of a plate that is not in the training": (after, unseen),
        "one free vector for each image": (train_table(images.views), everything),
    }
    print("| vectors | nearest measures | same treatment |")
    print("|---|---|---|")
    for name, (vectors, chosen) in rows.items():
        found = Cosines.of(vectors, images, chosen)
        print(f"| {name} | {found.nearest:+.3f} | {found.replicates:+.3f} |")


def print_batches(images: Images) -> None:
    """Print the cosines of wells that are alike on an unseen plate, by the size of a batch."""
    unseen = images.plate == images.plate.max()
    print("| images of a batch | steps | nearest measures | same treatment |")
    print("|---|---|---|---|")
    for batch in BATCHES:
        found = []
        for seed in SEEDS:
            network = make_network(seed)
            train_network(
                network, images.views[:, ~unseen], lambda u, p: nt_xent(u, p, 0.2), batch, seed
            )
            with torch.no_grad():
                found.append(Cosines.of(network(images.views[0]), images, unseen))
        near, alike = np.mean(found, axis=0)
        print(f"| {batch} | {STEPS * BATCH // batch} | {near:+.3f} | {alike:+.3f} |")


def main() -> None:
    """Print the four tables."""
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    torch.set_num_threads(1)
    images = load_images(mixed_plates()[:4])
    for part in (print_forces, print_denominators, print_unpaired, print_batches):
        part(images)
        print()


if __name__ == "__main__":
    main()
