"""Weighted mutual learning (Iyer 2024, arXiv 2411.16487, after Zhang et al., NeurIPS 2022): peers without a teacher,
each of which counts as much as it helps their ensemble on rows that none of them is trained on.

    inner  L1(θ, ω) = (1 − alpha) Σ_i ω_i CE(z_i, y) + alpha Σ_i Σ_{j≠i} ω_j T² · KL(sg[p_j] ‖ p_i) = Σ_k ω_k G_k(θ)
    outer  L2(θ, ω) = CE(Σ_i ω_i z_i, y)  on the rows held back

The peers step down L1. The weights ω, on the simplex, step down L2 at the θ' = θ − γ ∇L1 that an inner step of size γ
leads to. The formulas are those of the papers as re-derived, not of the published code, whose hypergradient is zero.
Logits are [B, C], one tensor per peer; labels are [B] with -100 for a row that has none.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

from baselines.data.collator import Collator
from baselines.data.rows import NO_LABEL, Rows
from baselines.errors import BaselineError
from baselines.methods.dml import cross_entropies, divergences
from baselines.methods.kd import cross_entropy

CLIP = 1.0
"""The hypergradient's entries are cut to -1..1; the published code cuts to 0..1 and loses the negative ones."""
HELD_BACK = 10
"""Of the labelled training rows every tenth, by id."""

Parameters = list[dict[str, Tensor]]


class Balance(nn.Module):
    """The peers' weights ω [M], uniform at first, and how they move: `outer` is "bilevel" (by the hypergradient),
    "direct" (as if the weights did not change what the peers learn) or "fixed".

    The weights and the step of their last move are buffers: they go with a checkpoint.
    Raises ValueError unless `floor` is in 0..1/M.
    """

    def __init__(self, peers: int, outer: str, eta: float, every: int, floor: float) -> None:
        super().__init__()
        if not 0 <= floor <= 1 / peers:
            raise ValueError(f"weight_floor must lie in 0..1/{peers}, got {floor}")
        self.outer, self.eta, self.every, self.floor = outer, eta, every, floor
        self.register_buffer("weights", torch.full((peers,), 1 / peers))
        self.register_buffer("moved", torch.zeros((), dtype=torch.long))

    def due(self, step: int) -> bool:
        """Whether the weights move before this step: at every `every`-th, and once where it has several batches."""
        return self.outer != "fixed" and step > 0 and step % self.every == 0 and step > int(self.moved)

    def move(self, gradient: Tensor, step: int) -> None:
        """Take one step of mirror descent along `gradient` [M], and remember at which step of the training."""
        self.weights.copy_(mirror_descent(self.weights, gradient, self.eta, self.floor))
        self.moved.fill_(step)


class Held:
    """Labelled training rows that no peer is trained on."""

    def __init__(self, rows: Rows, task: dict, size: int) -> None:
        """`size`: rows in a batch of them. Raises BaselineError where there are fewer than two."""
        ids, labels = torch.as_tensor(rows.ids), torch.as_tensor(rows.labels)
        self.rows = [rows[int(place)] for place in self.among(ids, labels).nonzero()[:, 0]]
        self.collator, self.size = Collator(task), size
        if len(self.rows) < 2:
            raise BaselineError(
                f"{len(labels)} training rows leave {len(self.rows)} to move the peers' weights by",
                "plan 20 labelled rows or more, or outer = fixed",
            )

    @staticmethod
    def among(ids: Tensor, labels: Tensor) -> Tensor:
        """Which rows [B] of a batch are held back."""
        return (ids % HELD_BACK == HELD_BACK - 1) & (labels != NO_LABEL)

    def batch(self, number: int) -> dict[str, Tensor]:
        """The number-th batch, around and around; its rows depend on the number alone."""
        first = number * self.size
        return self.collator([self.rows[(first + n) % len(self.rows)] for n in range(min(self.size, len(self.rows)))])


def without(held: Tensor, logits: Sequence[Tensor], labels: Tensor) -> tuple[list[Tensor], Tensor]:
    """Logits and labels from which nobody learns anything in the rows that `held` [B] names; these still count as rows,
    so that equal micro-batches add up to the batch."""
    agreed = logits[0].detach()
    return [torch.where(held[:, None], agreed, own) for own in logits], labels.masked_fill(held, NO_LABEL)


def peer_terms(logits: Sequence[Tensor], labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """(CE [M], Σ_{i≠k} T² · KL(sg[p_k] ‖ p_i) [M]): what peer k's weight multiplies, as pupil and as teacher.

    G_k = (1 − alpha) · the first + alpha · the second, and L1 = ω · G.
    """
    return cross_entropies(logits, labels), divergences(logits, temperature).sum(dim=1)


def ensemble_loss(logits: Sequence[Tensor], labels: Tensor, weights: Tensor) -> Tensor:
    """L2: the cross-entropy of the weighted logits. The published code weighs cross-entropies instead, so that its
    weights chase the peer which is best alone."""
    return cross_entropy(torch.einsum("m,mbc->bc", weights, torch.stack([*logits])), labels)


def hypergradient(
    inner: Callable[[Parameters], Tensor],
    outer: Callable[[Parameters, Tensor], Tensor],
    parameters: Parameters,
    weights: Tensor,
    rate: float,
) -> Tensor:
    """dL2(θ'(ω), ω)/dω [M] = ∂L2/∂ω − γ · ⟨∇L2(θ'), ∇G_k(θ)⟩, where θ' = θ − γ ∇(ω · G)(θ).

    `inner` gives G [M] at the parameters θ of all peers, `outer` L2; `rate` is γ, the size of a plain gradient step:
    for Adam, whose steps are of another kind, the current learning rate is an approximation. One forward-mode
    derivative of G along ∇L2(θ') has all M inner products.
    """
    slopes = grad(lambda point: weights @ inner(point))(parameters)
    ahead = [
        {name: value - rate * slope[name] for name, value in own.items()}
        for own, slope in zip(parameters, slopes, strict=True)
    ]
    along, direct = grad(outer, argnums=(0, 1))(ahead, weights)
    products = jvp(inner, (parameters,), (along,))[1].to(direct)  # torch makes fp64 of an fp32 scalar's tangent
    return direct - rate * products


def outer_gradient(
    peers: Sequence[nn.Module],
    batch: tuple[Mapping[str, Tensor], Tensor, Tensor],
    held: tuple[Mapping[str, Tensor], Tensor],
    balance: Balance,
    rate: float,
    alpha: float,
    temperature: float,
) -> Tensor:
    """The gradient [M] that `balance` moves by.

    `batch` is (the peers' inputs, labels, which rows are held back), `held` (inputs, labels) of the rows held back. The
    first peer may hold the others. All peers answer as in prediction: without dropout, with BatchNorm's running
    statistics, without a draw of random numbers, and in fp32 also where the training is in bf16.
    """
    inputs, labels, left_out = batch

    def inner(parameters: Parameters) -> Tensor:
        task, soft = peer_terms(*without(left_out, _answers(peers, parameters, inputs), labels), temperature)
        return (1 - alpha) * task + alpha * soft

    def outer(parameters: Parameters, weights: Tensor) -> Tensor:
        return ensemble_loss(_answers(peers, parameters, held[0]), held[1], weights)

    modes = [peer.training for peer in peers]
    casting = [vars(peer).pop("forward", None) for peer in peers]  # Accelerate's, which turns autocast on again
    for peer in peers:
        peer.eval()
    try:
        # flash attention has no forward-mode derivative
        with sdpa_kernel(SDPBackend.MATH), torch.autocast(labels.device.type, enabled=False):
            if balance.outer == "direct":
                return grad(outer, argnums=1)(_own(peers), balance.weights)
            return hypergradient(inner, outer, _own(peers), balance.weights, rate)
    finally:
        for peer, mode, forward in zip(peers, modes, casting, strict=True):
            peer.train(mode)
            vars(peer).update({"forward": forward} if forward else {})


def _own(peers: Sequence[nn.Module]) -> Parameters:
    """Each peer's parameters by name, without those of a peer that hangs on it."""
    own = [dict(peer.named_parameters()) for peer in peers]
    others = {id(parameter) for each in own[1:] for parameter in each.values()}
    own[0] = {name: parameter for name, parameter in own[0].items() if id(parameter) not in others}
    return [{name: parameter.detach() for name, parameter in each.items()} for each in own]


def _answers(peers: Sequence[nn.Module], parameters: Parameters, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    return [functional_call(p, own, (), dict(inputs)).logits for p, own in zip(peers, parameters, strict=True)]


def mirror_descent(weights: Tensor, gradient: Tensor, eta: float, floor: float) -> Tensor:
    """ω_k · exp(−η g_k) / Σ_m ω_m exp(−η g_m), then mixed with the uniform weights until none is below `floor`.

    g is cut to ±CLIP; the entry of a peer that answers NaN counts as 0.
    """
    gradient = gradient.nan_to_num(nan=0.0, posinf=CLIP, neginf=-CLIP).clamp(-CLIP, CLIP)
    moved = (weights.log() - eta * gradient).softmax(dim=0)
    return (1 - len(weights) * floor) * moved + floor


def effective_peers(weights: Tensor) -> Tensor:
    """exp of the weights' entropy: M where all count alike, 1 where one peer is all."""
    return torch.special.entr(weights).sum().exp()
