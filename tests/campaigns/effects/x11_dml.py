"""X11: peers that teach each other come to agree; that makes none of them better here."""

from collections.abc import Iterator
from statistics import mean

import torch
from torch import Tensor, nn

from baselines.methods.dml import divergences, mutual
from tests.campaigns.effects.digits import accuracy, cnn, digits, fit
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, LABELLED, STEPS, TEMPERATURE, ALPHA = 3, 150, 300, 1.0, 0.5


def run() -> Iterator[Claim]:
    arms = ((0.0, 1000), (ALPHA, 1000), (ALPHA, LABELLED))
    trained = [[_train(seed, alpha, rows) for seed in range(SEEDS)] for alpha, rows in arms]
    apart, together, few = ([distance for distance, _ in arm] for arm in trained)
    said = f"independent {spread(apart)}, mutual {spread(together)}"
    halved = all(2 * ours < theirs for ours, theirs in zip(together, apart, strict=True))
    yield Claim("peers disagree (KL) less than half as much as independent ones, in every seed", said, halved)
    less = all(ours > theirs for ours, theirs in zip(few, together, strict=True))
    yield Claim("without the unlabelled rows they agree less, in every seed", spread(few), less, control=True)
    scores = [[score for _, score in arm] for arm in trained[:2]]
    said = "independent {}, mutual {}".format(*map(spread, scores))
    stays = abs(mean(scores[0]) - mean(scores[1])) < 0.02
    yield Claim("their mean accuracy stays (within 0.02)", said, stays, control=True)


def _train(seed: int, alpha: float, rows: int) -> tuple[float, float]:
    """Mean KL between two peers and their mean accuracy on the test rows; LABELLED of the training rows have labels."""
    images, labels, test_images, test_labels = digits(seed)
    known = torch.where(torch.arange(len(labels)) < LABELLED, labels, -100)
    peers = nn.ModuleList([cnn(seed, width=12), cnn(50 + seed, width=12)])

    def loss(chosen: Tensor) -> Tensor:
        task, soft = mutual([peer(images[chosen]) for peer in peers], known[chosen], TEMPERATURE)
        return ((1 - alpha) * task + alpha * soft).sum()

    fit(peers, loss, rows, STEPS, seed)
    with torch.no_grad():
        distances = divergences([peer(test_images) for peer in peers], temperature=1.0)
    return distances.sum().item() / 2, mean(accuracy(peer, test_images, test_labels) for peer in peers)


EFFECT = Effect("X11", "dml", "digits CNN, 150 labels + 850 unlabelled, two peers", "KL .18 → .025; .882 → .881", run)
