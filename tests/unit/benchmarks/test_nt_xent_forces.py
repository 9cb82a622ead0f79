import numpy as np
import pytest
import torch

from benchmarks.nt_xent_forces import (
    COMPONENTS,
    Cosines,
    Images,
    make_network,
    nt_xent,
    push_shares,
    train_network,
    train_table,
)

pytestmark = pytest.mark.train

PLATES, TREATMENTS, WELLS = 3, 6, 30


@pytest.fixture(scope="module")
def images() -> Images:
    """Images of wells whose treatment decides a few of many components; the rest is noise."""
    rng = np.random.default_rng(5)
    centres = np.zeros((TREATMENTS, COMPONENTS))
    centres[:, :4] = rng.normal(size=(TREATMENTS, 4))
    treatment = np.tile(np.repeat(np.arange(TREATMENTS), WELLS), PLATES)
    own = centres[treatment] + 0.1 * rng.normal(size=(len(treatment), COMPONENTS))
    views = own + 0.5 * rng.normal(size=(4, *own.shape))
    plate = np.repeat(np.arange(PLATES), TREATMENTS * WELLS)
    return Images(
        torch.from_numpy(views).float(),
        torch.from_numpy(centres[treatment, :4]),
        torch.from_numpy(plate),
        [f"{number} {name}" for number, name in zip(plate, treatment, strict=True)],
    )


def test_wells_that_were_never_paired_become_alike_because_they_share_a_network(
    images: Images,
) -> None:
    unseen = images.plate == PLATES - 1
    network = make_network()
    with torch.no_grad():
        before = Cosines.of(network(images.views[0]), images, unseen)
    train_network(network, images.views[:, ~unseen], lambda u, p: nt_xent(u, p, 0.2))
    with torch.no_grad():
        after = Cosines.of(network(images.views[0]), images, unseen)
    assert after.replicates > before.replicates + 0.04

    free = Cosines.of(train_table(images.views), images, torch.ones_like(unseen))
    assert free.replicates < after.replicates - 0.1


def test_the_gradient_of_the_denominator_is_a_softmax_and_the_nearest_negatives_push_most(
    images: Images,
) -> None:
    cold, warm = push_shares(images, 0.05), push_shares(images, 1.0)
    assert max(cold[2], warm[2]) < 1e-12
    assert cold[0] > 2 * warm[0] > 0.02
