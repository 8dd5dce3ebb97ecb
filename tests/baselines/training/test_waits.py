"""A training step asks a graphics card for nothing: the answer would wait until the card had done all it had been told.

Torch's device "meta" stands in for the card. Its tensors hold no numbers, so that to ask for one raises an error.
"""

import io
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import Trainer

from agent.plan.cards import cards
from agent.plan.method import Method
from baselines.data.collator import Batch
from baselines.methods.tmkd import Scale
from baselines.models.by_length import in_parts, spread
from baselines.training.experiment import Experiment
from baselines.training.trace import Gradients, Updates
from baselines.training.trainfile import import_file
from tests.baselines.lab import METHOD, TEMPLATES, Lab, here
from tests.baselines.methods.trials import BOTH
from tests.baselines.models.test_by_length import ARCHITECTURES, built

ROWS, TEACHERS = 8, {"teachers": 2}


@pytest.fixture(scope="module")
def labs(tmp_path_factory) -> dict[str, Lab]:
    found = {kind: Lab(tmp_path_factory.mktemp(kind), kind) for kind in BOTH}
    for lab in found.values():
        here("prepare", lab.prepare_job())
        here("teacher", lab.teacher_job(method=METHOD | TEACHERS))
    return found


@pytest.fixture
def caught(monkeypatch) -> list[Trainer]:
    """Trainers that were to begin."""
    found: list[Trainer] = []

    def train(self, **_):
        found.append(self)
        raise InterruptedError

    monkeypatch.setattr(Trainer, "train", train)
    return found


def asked(kind: str) -> list[str]:
    """Train files for rows of this kind."""
    known = cards()
    return [
        file.stem for file in sorted(TEMPLATES.glob("*.py")) if file.stem not in known or kind in known[file.stem].kinds
    ]


def begun(lab: Lab, arm: str, out: Path, caught: list[Trainer]) -> tuple[Experiment, Trainer]:
    method = METHOD | {"name": arm}
    if arm in cards():
        method = Method(name=arm).model_dump() | dict(cards()[arm].defaults) | TEACHERS | {"layers": 3, "name": arm}
    unit = lab.unit(arm, method=method)
    experiment = Experiment(lab.trial_job(unit), unit, seed=1, out=out, trace=io.StringIO())
    with pytest.raises(InterruptedError):
        import_file(TEMPLATES / f"{arm}.py").train(experiment)
    return experiment, caught[0]


@pytest.mark.filterwarnings("ignore:the teacher contradicts")  # it learned for a dozen steps
@pytest.mark.parametrize(("kind", "arm"), [(kind, arm) for kind in BOTH for arm in asked(kind)])
def test_a_step_asks_the_card_for_nothing(kind, arm, labs, tmp_path, caught):
    experiment, trainer = begun(labs[kind], arm, tmp_path, caught)
    batch = experiment.collator([trainer.train_dataset[place] for place in range(ROWS)])
    trainer.compute_loss(trainer.model, batch)  # what is asked once may be
    for name, value in vars(trainer).items():
        if isinstance(value, torch.Tensor | Scale):
            setattr(trainer, name, value.to("meta"))  # as it is where the arguments name the card
    if experiment.teacher:
        experiment.teacher._features.clear()
    trainer.compute_loss(trainer.model.to("meta"), batch.to("meta", non_blocking=True)).backward()
    if arm == "kd":
        seen = experiment.teacher.watched["logits"]
        assert (seen.watched, seen.reached, seen.most.device.type) == (1, 1, "meta")


def test_watching_the_weights_asks_the_card_for_nothing():
    model = nn.Sequential(nn.Embedding(4096, 32), nn.Linear(32, 2)).to("meta")
    rule, updates = torch.optim.SGD(model.parameters(), lr=0.1), Updates([0.1] * 2)
    updates.watch(model, rule)
    for _ in range(2):
        model(torch.zeros(3, dtype=torch.long, device="meta")).sum().backward()
        rule.step()
    updates.finish(model)
    assert updates.count == 2 and updates.touched.device.type == "meta"


def test_what_watches_answers_follows_them_into_pinned_memory(monkeypatch):
    """Which only a machine with a card has."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor.clone())
    watch, answers = Gradients(), torch.ones(3, 2)
    pinned = Batch(ids=torch.arange(3), teacher_logits=watch.watch(answers)).pin_memory()
    assert pinned["teacher_logits"] is not answers and pinned["teacher_logits"].is_leaf
    (3 * pinned["teacher_logits"]).sum().backward()
    assert (watch.watched, watch.reached) == (1, 1) and float(watch.least) == pytest.approx(3 * 6**0.5)
    assert pinned.to("cpu")["teacher_logits"] is pinned["teacher_logits"]


def test_answers_that_train_py_mixed_stay_as_it_mixed_them():
    watch, answers = Gradients(), torch.ones(3, 2)
    batch = Batch(teacher_logits=2 * watch.watch(answers)).to("cpu")
    batch["teacher_logits"].sum().backward()
    assert watch.reached == 1 and float(watch.most) == pytest.approx(2 * 6**0.5)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_mask_made_ready_for_the_card_gives_the_same_answers(architecture):
    model = in_parts(built(architecture)).eval()
    whole = type(built(architecture)).forward
    mask = (torch.arange(9) < torch.tensor([[9], [4], [1]])).long()
    ids = torch.randint(5, 50, mask.shape) * mask
    ready = whole(model, input_ids=ids, attention_mask=spread(mask)).logits
    assert torch.equal(ready, whole(model, input_ids=ids, attention_mask=mask).logits)
