"""X4: the weights of mutual learning leave the peer that cannot see, and their gradient is the exact one."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from statistics import mean

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad

from baselines.methods.wml import Parameters, ensemble_loss, hypergradient, mirror_descent, peer_terms
from tests.campaigns.effects.digits import digits, mlp
from tests.campaigns.effects.effect import Claim, Effect, spread

SEEDS, STEPS, BATCH, RATE, MOMENTUM = 3, 400, 64, 0.1, 0.9
ALPHA, TEMPERATURE, ETA, EVERY = 0.5, 1.0, 0.5, 5
VALIDATION = 300
PIXELS = 8
"""Of 64, that is 12 %, are all that the handicapped peer sees."""


@dataclass(frozen=True)
class Trained:
    weights: Tensor
    accuracies: list[float]
    ensemble: float


class Blinkered(nn.Module):
    """Sees the same few pixels of every image."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.inner = mlp(seed, width=16)
        seen = torch.randperm(64, generator=torch.Generator().manual_seed(seed))[:PIXELS]
        self.register_buffer("mask", torch.zeros(64).index_fill(0, seen, 1.0).view(1, 8, 8))

    def forward(self, images: Tensor) -> Tensor:
        return self.inner(images * self.mask)


def run() -> Iterator[Claim]:
    bilevel, direct, fixed = (
        [_train(seed, outer, _peers(seed)) for seed in range(SEEDS)] for outer in ("bilevel", "direct", "fixed")
    )
    weights = "; ".join(" ".join(f"{w:.3f}" for w in each.weights.tolist()) for each in bilevel)
    strongest = all(each.weights[0] == each.weights.max() >= 0.6 for each in bilevel)
    yield Claim("the strongest peer has the largest weight, ≥ 0.6, in every seed", weights, strongest)
    blind = max(each.weights[2].item() for each in bilevel)
    yield Claim("the handicapped peer has less than 0.1 in every seed", f"at most {blind:.3f}", blind < 0.1)
    ensembles = [[each.ensemble for each in arm] for arm in (bilevel, direct, fixed)]
    said = "bilevel {}, direct {}, fixed {}".format(*map(spread, ensembles))
    gain = mean(ensembles[0]) - mean(ensembles[2])
    yield Claim("the weighted ensemble beats the one of fixed weights by ≥ 0.05", said, gain >= 0.05)
    small = [[each.accuracies[1] for each in arm] for arm in (bilevel, fixed)]
    said = "bilevel {}, fixed {}".format(*map(spread, small))
    yield Claim("the small peer gains", said, mean(small[0]) > mean(small[1]))
    exact, without = _errors()
    yield Claim("error of the hypergradient against finite differences < 1e-6", f"{exact:.1e}", exact < 1e-6)
    said = f"{without:.1e}"
    yield Claim("without its second term the error is large (> 1e-3)", said, without > 1e-3, control=True)
    still = (_train(0, "bilevel", [mlp(0, width=64) for _ in range(3)]).weights - 1 / 3).abs().max().item()
    yield Claim("three equal peers keep uniform weights (to 1e-3)", f"{still:.0e} off", still < 1e-3, control=True)


def _peers(seed: int) -> list[nn.Module]:
    return [mlp(seed, width=64), mlp(50 + seed, width=16), Blinkered(100 + seed)]


def _train(seed: int, outer: str, peers: list[nn.Module]) -> Trained:
    """Weights, the peers' and the weighted ensemble's accuracy on 497 test rows, after SGD on 1,000 training rows."""
    images, labels, others, other_labels = digits(seed)
    weights = torch.full((len(peers),), 1 / len(peers))
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.SGD([p for peer in peers for p in peer.parameters()], lr=RATE, momentum=MOMENTUM)
    for step in range(STEPS):
        rows = torch.randint(len(labels), (BATCH,), generator=generator)
        held = torch.randint(VALIDATION, (BATCH,), generator=generator)
        inner = partial(_parts, peers, images[rows], labels[rows])
        if outer != "fixed" and step % EVERY == 0:
            point = [{name: p.detach() for name, p in peer.named_parameters()} for peer in peers]
            whole = partial(_whole, peers, others[held], other_labels[held])
            slope = hypergradient(inner, whole, point, weights, RATE if outer == "bilevel" else 0.0)
            weights = mirror_descent(weights, slope, ETA, floor=0.0)
        optimizer.zero_grad()
        (weights @ inner([dict(peer.named_parameters()) for peer in peers])).backward()
        optimizer.step()
    with torch.no_grad():
        logits = torch.stack([peer(others[VALIDATION:]) for peer in peers])
    right = [_right(each, other_labels) for each in (*logits, torch.einsum("m,mbc->bc", weights, logits))]
    return Trained(weights, right[:-1], right[-1])


def _right(logits: Tensor, labels: Tensor) -> float:
    return (logits.argmax(dim=1) == labels[VALIDATION:]).double().mean().item()


def _answers(peers: list[nn.Module], images: Tensor, parameters: Parameters) -> list[Tensor]:
    return [functional_call(peer, own, images) for peer, own in zip(peers, parameters, strict=True)]


def _parts(peers: list[nn.Module], images: Tensor, labels: Tensor, parameters: Parameters) -> Tensor:
    task, soft = peer_terms(_answers(peers, images, parameters), labels, TEMPERATURE)
    return (1 - ALPHA) * task + ALPHA * soft


def _whole(peers: list[nn.Module], images: Tensor, labels: Tensor, parameters: Parameters, weights: Tensor) -> Tensor:
    return ensemble_loss(_answers(peers, images, parameters), labels, weights)


def _errors() -> tuple[float, float]:
    """Relative errors in fp64 against central differences of L2(θ'(ω), ω): the hypergradient's, and that of ∂L2/∂ω."""
    images, labels, others, other_labels = digits(0)
    peers = [peer.double() for peer in _peers(0)]
    inner = partial(_parts, peers, images[:BATCH].double(), labels[:BATCH])
    outer = partial(_whole, peers, others[:BATCH].double(), other_labels[:BATCH])
    point = [{name: p.detach() for name, p in peer.named_parameters()} for peer in peers]
    weights, step = torch.tensor([0.5, 0.3, 0.2]).double(), 1e-5

    def ahead(weights: Tensor) -> Parameters:
        slopes = grad(lambda p: weights @ inner(p))(point)
        return [{n: p[n] - RATE * s[n] for n in p} for p, s in zip(point, slopes, strict=True)]

    moves = step * torch.eye(3).double()
    ends = [[outer(ahead(w), w) for w in (weights + move, weights - move)] for move in moves]
    measured = torch.stack([(above - below) / (2 * step) for above, below in ends])
    exact = hypergradient(inner, outer, point, weights, RATE)
    without = grad(outer, argnums=1)(ahead(weights), weights)
    return tuple(((slope - measured).norm() / measured.norm()).item() for slope in (exact, without))


EFFECT = Effect(
    "X4", "wml", "digits, three MLPs, one sees 12 % of the pixels", "ω .33 → .98/.01/.01; .82 → .96; error 3e-9", run
)
