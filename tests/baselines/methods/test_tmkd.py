"""Two-stage multi-teacher distillation: a head per teacher, two stages, and what remains of them."""

import io
import runpy
from pathlib import Path

import pytest
import torch

from baselines.errors import BaselineError
from baselines.methods.kd import cross_entropy
from baselines.methods.tmkd import (
    SoftHeads,
    averaged,
    objective,
    scale,
    soft_loss,
    students,
    targets,
)
from baselines.training.cached_teacher import Teacher
from baselines.training.experiment import Experiment
from tests.baselines.lab import METHOD, Lab, here, trace
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error

TEMPLATES = Path(__file__).parents[3] / "templates" / "train"
TEMPLATE = TEMPLATES / "tmkd.py"
PLAN = {"teachers": 3, "mode": "m-o-1", "stage_one": 0.5, "alpha": 0.9}


def logits(teachers=3, rows=6, classes=5):
    soft, teacher = torch.randn(2, teachers, rows, classes)
    return soft.requires_grad_(), teacher


class Several:
    """Three teachers that disagree, and the ids they were asked for."""

    def __init__(self, rows, classes, count=3):
        self.logits, self.asked = torch.randn(count, rows, classes), []

    def several(self, ids, count, shown=None):
        self.asked.append(ids.tolist())
        return self.logits[:count, ids]


class Recorder(Several, Teacher):
    """The teacher of a real trial, and others beside it."""

    def __init__(self, folder, task):
        Teacher.__init__(self, folder, task)
        Several.__init__(self, *self.logits.shape)


@pytest.fixture
def train(experiment, models, rows):
    """Trains the template on one student and three teachers; what it was, and the student before."""

    def run(count=8, file=TEMPLATE, **plan):
        torch.manual_seed(1)
        made = experiment(models.distilbert(), models.bert(), rows.text(count), **PLAN | plan)
        made.teacher = Several(count, 4)
        made.optimizer = decayed
        before = {name: value.clone() for name, value in made.student.state_dict().items()}
        runpy.run_path(str(file))["train"](made)
        return made, before

    return run


def decayed(model):
    """An optimizer that moves every weight which has any gradient, one of zeros too."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=0.5)
    return optimizer, torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)


def moved(made, before):
    return {name for name, value in made.student.state_dict().items() if not torch.equal(value, before[name])}


HEAD = {f"{layer}.{part}" for layer in ("pre_classifier", "classifier") for part in ("weight", "bias")}


# ── losses and heads ────────────────────────────────────────────────────────────────────────────────────────────────


def test_soft_loss_vanishes_where_each_head_equals_its_teacher():
    """TM-1: and so does its gradient; another teacher's answers do not do."""
    soft, _ = logits()
    loss = soft_loss(soft, soft.detach())
    assert loss == 0 and torch.autograd.grad(loss, soft)[0].abs().max() == 0
    assert soft_loss(soft, soft.detach().roll(1, dims=0)) > 0.1


def test_prediction_sums_to_one_with_and_without_the_golden_head():
    """TM-2: O is a distribution, and weighs all heads the same."""
    soft, _ = logits()
    golden = torch.randn(6, 5)
    for probabilities in (averaged(golden, soft), averaged(None, soft)):
        torch.testing.assert_close(probabilities.sum(dim=-1), torch.ones(6))
    by_hand = (golden.softmax(-1) + soft[0].softmax(-1) + soft[1].softmax(-1) + soft[2].softmax(-1)) / 4
    torch.testing.assert_close(averaged(golden, soft), by_hand)


def test_order_of_teachers_does_not_matter():
    """TM-4: permuting teachers together with heads changes neither loss nor prediction."""
    soft, teacher = logits()
    order, golden = [2, 0, 1], torch.randn(6, 5)
    torch.testing.assert_close(soft_loss(soft[order], teacher[order]), soft_loss(soft, teacher))
    torch.testing.assert_close(averaged(golden, soft[order]), averaged(golden, soft))
    assert not torch.allclose(soft_loss(soft[order], teacher), soft_loss(soft, teacher))


def test_a_batch_of_one_class_is_finite_and_keeps_every_column():
    """TM-8: the number of classes is never read off a batch."""
    heads, encoding = SoftHeads(7, classes=5, teachers=3), torch.randn(6, 7)
    soft = heads(encoding)
    assert soft.shape == (3, 6, 5)
    golden = cross_entropy(torch.randn(6, 5), torch.zeros(6, dtype=torch.long))
    assert objective(golden, soft_loss(soft, torch.zeros_like(soft)), 0.9, stage=2).isfinite()


def test_heads_are_independent_linear_maps():
    heads, encoding = SoftHeads(7, classes=5, teachers=3), torch.randn(6, 7)
    soft_loss(heads(encoding)[:1], torch.zeros(1, 6, 5)).backward()
    assert heads.heads.weight.grad[:5].abs().min() > 0 and heads.heads.weight.grad[5:].abs().max() == 0


def test_a_missing_answer_masks_its_head_and_divides_by_those_present():
    soft, teacher = logits()
    present = torch.ones(3, 6, dtype=torch.bool)
    torch.testing.assert_close(soft_loss(soft, teacher, present), soft_loss(soft, teacher))
    present[0, 1], present[:, 2], teacher[0, 1] = False, False, torch.nan
    rows = [soft_loss(soft[:, [n]], teacher[:, [n]]) for n in (0, 3, 4, 5)]
    rows += [soft_loss(soft[1:, [1]], teacher[1:, [1]])]
    loss = soft_loss(soft, teacher, present)
    torch.testing.assert_close(loss, sum(rows) / 6)
    gradient = torch.autograd.grad(loss, soft)[0]
    assert gradient.isfinite().all() and gradient[0, 1].abs().max() == gradient[:, 2].abs().max() == 0


def test_gradients_equal_finite_differences():
    soft, teacher = logits(rows=4, classes=3)
    present = torch.rand(3, 4) > 0.3
    labels = torch.tensor([0, -100, 2, 1])
    assert gradient_error(lambda z: soft_loss(z, teacher.double(), present), soft) < 1e-5

    def second(golden, soft):
        return objective(cross_entropy(golden, labels), soft_loss(soft, teacher.double()), 0.7, stage=2)

    assert gradient_error(second, torch.randn(4, 3), soft) < 1e-5


def test_half_precision_is_computed_in_fp32():
    assert_half_is_computed_in_fp32(soft_loss, *logits())


def test_shapes_that_would_broadcast_are_refused():
    with pytest.raises(ValueError, match=r"\[3, 6, 5\].*\[1, 6, 5\]"):
        soft_loss(torch.zeros(3, 6, 5), torch.zeros(1, 6, 5))


def test_stages_weigh_the_terms_as_the_formula_says():
    golden, soft = torch.tensor(2.0), torch.tensor(10.0)
    assert objective(golden, soft, 0.9, stage=1) == 10
    assert objective(golden, soft, 0.9, stage=2).item() == pytest.approx(0.1 * 2 + 0.9 * 10)
    with pytest.raises(ValueError, match="got 0"):
        objective(golden, soft, 0.9, stage=0)


# ── teachers ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_mode_has_its_students_and_their_teachers():
    _, teacher = logits()
    assert [students(mode, 3) for mode in ("1-o-1", "1avg-o-1", "m-o-1", "m-o-m")] == [1, 1, 1, 3]
    assert torch.equal(targets(teacher, "1-o-1"), teacher[:1])  # the best comes first
    torch.testing.assert_close(targets(teacher, "1avg-o-1")[0], (teacher[0] + teacher[1] + teacher[2]) / 3)
    assert torch.equal(targets(teacher, "m-o-1"), teacher)
    assert torch.equal(torch.cat([targets(teacher, "m-o-m", n) for n in range(3)]), teacher)
    with pytest.raises(ValueError, match="'all' is not one of 1-o-1"):
        students("all", 3)
    with pytest.raises(ValueError, match="student 1 is not one of the 1 of mode"):
        targets(teacher, "m-o-1", student=1)


def test_only_large_logits_are_standardised_and_each_teacher_by_its_own():
    _, teacher = logits(rows=200)
    teacher[1] = 20 * teacher[1] + 3
    found = scale(teacher)
    assert found.deviation.flatten().tolist() == pytest.approx([1, teacher[1].std(correction=0).item(), 1])
    scaled = found.apply(teacher)
    assert torch.equal(scaled[0], teacher[0]) and torch.equal(scaled[2], teacher[2])
    assert (scaled[1].mean().item(), scaled[1].std(correction=0).item()) == pytest.approx((0, 1), abs=1e-5)
    torch.testing.assert_close(found.apply(teacher[:, 7:9]), scaled[:, 7:9])  # a batch is scaled as the whole is


# ── the train.py ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_teacher_without_weight_is_plain_fine_tuning_of_the_golden_head(train):
    """TM-3: N = 1, α = 0 and no first stage give the weights of student_only.py bit by bit."""
    plan = {"mode": "1-o-1", "alpha": 0.0, "stage_one": 0.0}
    ours, before = train(**plan)
    plain, _ = train(file=TEMPLATES / "student_only.py")
    assert moved(ours, before) == set(before)
    assert all(torch.equal(value, plain.student.state_dict()[n]) for n, value in ours.student.state_dict().items())
    assert moved(train(**plan | {"alpha": 0.1})[0], ours.student.state_dict())


@pytest.mark.parametrize("plan", [{"stage_one": 1.0, "alpha": 0.0}, {"stage_one": 0.0, "alpha": 1.0}])
def test_golden_head_is_untouched_by_stage_one_and_by_full_weight_of_the_teachers(train, plan):
    """TM-5, TM-6: not even weight decay moves it; the encoder learns."""
    made, before = train(**plan)
    assert moved(made, before) == set(before) - HEAD


def test_stage_two_begins_when_stage_one_has_had_its_share(train):
    made, before = train(count=16, stage_one=0.75)  # four steps, the last of them with labels
    assert moved(made, before) == set(before)
    untouched, before = train(count=16, stage_one=0.76)
    assert moved(untouched, before) == set(before) - HEAD


def test_answers_belong_to_their_rows_when_rows_are_shuffled_and_the_last_batch_is_short(train):
    """TM-7: every batch asks for the ids it holds, whatever their order and number."""
    made, _ = train(count=10)
    whole, *batches = made.teacher.asked
    assert whole == list(range(10)) and [len(batch) for batch in batches] == [4, 4, 2]
    asked = [row for batch in batches for row in batch]
    assert asked == made.seen and asked != sorted(asked) == whole


def test_several_students_are_refused_with_what_to_use_instead(train):
    with pytest.raises(BaselineError, match="m-o-m trains 3 students") as caught:
        train(mode="m-o-m")
    assert "m-o-1" in caught.value.hint


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "mode"), [("text", "m-o-1"), ("image", "1avg-o-1")])
def test_a_trial_trains_a_plain_student_from_three_teachers(tmp_path, kind, mode):
    lab = Lab(tmp_path, kind)
    here("prepare", lab.prepare_job())
    here("teacher", lab.teacher_job())
    stream = io.StringIO()
    unit = lab.unit("tmkd", method=METHOD | PLAN | {"mode": mode})
    made = Experiment(lab.trial_job(), unit, seed=1, out=tmp_path, trace=stream)
    made.teacher = Recorder(lab.teacher, made.task)
    assert runpy.run_path(str(TEMPLATE))["train"](made) is made.student
    assert tuple(made.student.state_dict()) == made.names
    (tmp_path / "trace.jsonl").write_text(stream.getvalue())
    lines, end = trace(tmp_path, "log"), trace(tmp_path, "end")[0]
    for line in lines:
        terms, first = line["terms"], line["step"] <= 3
        expected = terms["distillation"] if first else 0.1 * terms["task"] + 0.9 * terms["distillation"]
        assert line["loss"] == pytest.approx(expected, rel=1e-3)
    assert (len(lines), end["step"]) == (6, 6) and end["terms"]["distillation"] == {"count": 6, "zeros": 0}
