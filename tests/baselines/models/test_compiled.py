"""A compiled student learns what it learns as it is, hooks and copies of it work as ever, and it is tried out first."""

import copy
import json
from pathlib import Path

import pytest
import torch

from baselines.models.build import build
from baselines.models.compiled import compiled, is_compiled
from tests.baselines.lab import SPEC, TRAINING, Lab, process

TEXT = {"kind": "text", "labels": ["a", "b"], "vocabulary": 40, "padding": 0, "input_size": 12}
IMAGE = {"kind": "image", "labels": ["a", "b"], "channels": 3, "input_size": 8}
OWN = {
    "text": (TEXT, {"architecture": "distilbert", "layers": 1, "dropout": 0.0}),
    "image": (IMAGE, {"architecture": "resnet", "layers": 1, "blocks": [1], "stem": "cifar", "width": 8}),
}
pytestmark = pytest.mark.slow


def batches(kind: str) -> list[dict[str, torch.Tensor]]:
    """Texts of several lengths."""
    torch.manual_seed(1)
    if kind == "image":
        return [{"pixel_values": torch.randn(4, 3, 8, 8)} for _ in range(2)]
    found = [torch.randint(5, 40, (4, length)) for length in (5, 9, 7)]
    return [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in found]


def trained(model: torch.nn.Module, inputs: list[dict[str, torch.Tensor]]) -> list[torch.Tensor]:
    rule = torch.optim.SGD(model.parameters(), lr=0.1)
    for each in inputs:
        model(**each, output_hidden_states=True).logits.square().mean().backward()
        rule.step()
        rule.zero_grad()
    return [weight.detach() for weight in model.parameters()]


@pytest.mark.parametrize("kind", ["text", "image"])
def test_it_learns_the_same_and_what_hooks_into_it_later_is_called(kind: str) -> None:
    task, own = OWN[kind]
    plain, fast = (build(SPEC | own, task, seed=0).train() for _ in range(2))
    assert compiled(fast) is fast and is_compiled(fast) and not is_compiled(plain)
    assert fast.state_dict().keys() == plain.state_dict().keys()
    inputs, other = batches(kind), copy.deepcopy(fast)
    for ours, theirs in zip(trained(fast, inputs), trained(plain, inputs), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    assert not other(**inputs[0]).logits.any() and fast(**inputs[0]).logits.any()  # each reads its own weights
    inside, seen = [part for part in fast.modules() if isinstance(part, torch.nn.Linear | torch.nn.Conv2d)][1], []
    inside.register_forward_hook(lambda part, args, output: seen.append(output))
    logits = fast(**inputs[0]).logits
    assert len(seen) == 1
    with pytest.raises(RuntimeError, match="to not have been used"):  # the same kernels made both
        torch.autograd.grad(logits.sum(), seen[0], retain_graph=True)
    [gradient] = torch.autograd.grad(seen[0].square().sum(), inside.weight, create_graph=True)
    assert gradient.any()
    with pytest.raises(RuntimeError, match="double backward"):
        gradient.sum().backward()


def test_a_recurrent_network_stays_as_it_is() -> None:
    own = {"architecture": "bilstm", "layers": 1, "heads": 0}
    assert not is_compiled(compiled(build(SPEC | own, TEXT, seed=0)))


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("lab"), "image")
    assert process("prepare", lab.prepare_job()).returncode == 0
    return lab


def paced(lab: Lab, out: Path, worth: float, **env: str) -> dict:
    out.mkdir()
    model = lab.models["student"] | {"blocks": [1], "layers": 1}
    job = {"seen": str(lab.data / "seen"), "model": model, "training": TRAINING, "threads": 1, "worth": worth}
    done = process("pace", job | {"out": str(out)}, TORCHINDUCTOR_CACHE_DIR=str(out / "kernels"), **env)
    assert done.returncode == 0, done.stderr
    return json.loads((out / "pace.json").read_text())


def test_a_step_is_measured_as_it_is_and_compiled_by_two_processes(lab: Lab, tmp_path: Path) -> None:
    found = paced(lab, tmp_path / "out", 0.0)
    assert found.keys() == {"plain", "compiled", "first", "same"} and found["same"] is True
    assert found["first"] > 10 * max(found["plain"], found["compiled"]) > 0


def test_compiling_is_not_tried_where_training_takes_little_time(lab: Lab, tmp_path: Path) -> None:
    assert paced(lab, tmp_path / "out", 60.0).keys() == {"plain"}


def test_a_machine_that_cannot_compile_says_so(lab: Lab, tmp_path: Path) -> None:
    found = paced(lab, tmp_path / "out", 0.0, CXX="no-such-compiler")
    assert found.keys() == {"plain", "problem"} and "compiler" in found["problem"]
