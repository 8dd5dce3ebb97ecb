"""Data partition: who teaches which row, and a frozen copy that stays what the student was."""

import pytest
import torch
import torch.nn.functional as F

from baselines.methods.dpkd import Frozen, flips, partitioned, trusts_teacher
from baselines.methods.kd import distillation
from tests.baselines.lab import STEPS, Lab, here, report, sha256, trace
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error
from tests.baselines.methods.trials import BOTH, prepared, trained
from tests.baselines.training.test_checkpoints import SAVED, cut_off, same, unit

SETTINGS = {"partition": "supervised", "temperature": 2.0, "head_start": 0.5}
LABELS = torch.tensor([0, 1, 2, 3, 4, 0])
MODES = ("supervised", "unsupervised")


def sides():
    """Logits of student, teacher and the student from before."""
    student, teacher, start = 2 * torch.randn(3, 6, 5)
    return student.requires_grad_(), teacher, start


def loss(student, teacher, start, labels=LABELS, mode="supervised", temperature=2.0):
    return distillation(student, partitioned(teacher, start, labels, mode), temperature)


@pytest.mark.parametrize("mode", MODES)
def test_a_teacher_that_is_the_student_teaches_nothing(mode):
    """PI-2."""
    _, _, start = sides()
    student = start.clone().requires_grad_()
    value = loss(student, start, start, mode=mode)
    assert value.abs() < 1e-6 and torch.autograd.grad(value, student)[0].abs().max() < 1e-6


def test_a_teacher_trusted_everywhere_is_vanilla_distillation_and_one_trusted_nowhere_leaves_the_student():
    """PI-3."""
    student, teacher, start = sides()
    sure = teacher + 50 * F.one_hot(LABELS, 5)
    assert trusts_teacher(sure, start, LABELS, "supervised").all()
    assert torch.equal(loss(student, sure, start), distillation(student, sure, 2.0))
    assert not trusts_teacher(start, sure, LABELS, "supervised").any()
    still = sure.clone().requires_grad_()
    value = loss(still, start, sure)
    assert value.abs() < 1e-6 and torch.autograd.grad(value, still)[0].abs().max() < 1e-6


def test_without_supervision_labels_do_not_matter_and_with_it_they_do():
    """PI-4."""
    student, teacher, start = sides()
    losses = {mode: [loss(student, teacher, start, each, mode) for each in (LABELS, LABELS.flip(0))] for mode in MODES}
    assert torch.equal(*losses["unsupervised"]) and not torch.equal(*losses["supervised"])


def test_each_row_is_taught_by_whoever_gives_its_label_more():
    _, teacher, start = sides()
    p, q = (side.softmax(dim=-1).gather(1, LABELS[:, None])[:, 0] for side in (teacher, start))
    trusted = trusts_teacher(teacher, start, LABELS, "supervised")
    assert torch.equal(trusted, p > q) and 0 < trusted.sum() < 6
    target = partitioned(teacher, start, LABELS, "supervised")
    assert torch.equal(target, torch.where(trusted[:, None], teacher, start))


def test_a_row_without_a_label_is_taught_by_whoever_is_surer():
    _, teacher, start = sides()
    unlabelled = torch.full((6,), -100)
    for mode in MODES:
        trusted = trusts_teacher(teacher, start, unlabelled, mode)
        assert torch.equal(trusted, teacher.softmax(-1).amax(-1) > start.softmax(-1).amax(-1))


@pytest.mark.parametrize("mode", MODES)
def test_ties_keep_the_student(mode):
    _, teacher, _ = sides()
    assert not trusts_teacher(teacher, teacher + 3.0, LABELS, mode).any()


def test_flips_differ_by_the_gain_in_accuracy():
    """PI-8."""
    before, after, labels = torch.randint(3, (3, 100))
    gained, lost = flips(before, after, labels)
    gain = ((after == labels).double().mean() - (before == labels).double().mean()).item()
    assert gained - lost == pytest.approx(gain, abs=1e-12) and gained > 0 < lost
    assert flips(torch.tensor([0, 1, 2, 2]), torch.tensor([1, 1, 0, 2]), torch.tensor([1, 1, 2, 0])) == (0.25, 0.25)


def test_gradient_equals_finite_differences_and_half_precision_is_computed_in_fp32():
    student, teacher, start = sides()
    fixed = [side.double() for side in (teacher, start)]
    assert gradient_error(lambda z: loss(z, *fixed), student) < 1e-5
    assert_half_is_computed_in_fp32(loss, student.detach(), teacher, start)


def test_shapes_are_checked():
    with pytest.raises(ValueError, match="differ"):
        partitioned(torch.zeros(2, 3), torch.zeros(2, 4), torch.tensor([0, 1]), "supervised")


@pytest.mark.parametrize("family", ["bert", "distilbert", "resnet", "mobilenet"])
def test_a_frozen_copy_answers_as_the_student_did_and_trains_nothing(models, rows, family):
    student = getattr(models, family)()
    made = rows.text(4) if "bert" in family else rows.image(4)
    inputs = rows.inputs_of(rows.collate(made))
    with torch.no_grad():
        expected = student.eval()(**inputs).logits
    frozen = Frozen(student)
    student.add_module("before", frozen)
    student.train()
    torch.testing.assert_close(frozen.logits(**inputs), expected)
    assert not [*frozen.parameters()] and not frozen.logits(**inputs).requires_grad
    with torch.no_grad():
        [parameter.add_(0.1) for parameter in student.parameters()]
    torch.testing.assert_close(frozen.logits(**inputs), expected)
    frozen.take(student)
    with torch.no_grad():
        moved = student.eval()(**inputs).logits
    torch.testing.assert_close(frozen.logits(**inputs), moved)
    assert not torch.allclose(moved, expected)


@pytest.fixture(scope="module", params=BOTH)
def lab(request, tmp_path_factory) -> Lab:
    return prepared(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.slow
def test_the_finished_file_learns_from_labels_first_and_from_the_partition_then(lab, tmp_path):
    folder = trained(lab, "dpkd", SETTINGS, tmp_path)
    terms = [line["terms"] for line in trace(folder, "log")]
    assert [set(each) for each in terms] == [{"task"}] * 3 + [{"distillation"}] * 3
    assert terms[3]["distillation"] > 0  # dropout aside, a student that the teacher is not trusted over would have 0
    [end] = trace(folder, "end")
    assert end["touched"] == 0 and end["updates"] == STEPS and end["forward_rows"] == 16 * STEPS
    assert set(end["reads"]) == set(SETTINGS) and end["gradients"]["logits"]["reached"] == STEPS - 3
    assert end["executed"]["dropout"] == "as built"  # the frozen copy is none of the student's
    start = trained(lab, "dpkd", SETTINGS | {"head_start": 0.0}, tmp_path / "trained")
    assert all(set(line["terms"]) == {"distillation"} for line in trace(start, "log"))
    assert sha256(start / "weights.safetensors") != sha256(folder / "weights.safetensors")


@pytest.mark.slow
def test_a_trial_that_was_cut_off_goes_on_with_the_copy_that_its_checkpoint_holds(lab, tmp_path):
    """The copy is taken at step 5; the process is killed at step 8 and goes on from step 6."""
    job = lab.trial_job(unit(lab, tmp_path, "dpkd", method={"name": "dpkd"} | SETTINGS | {"head_start": 0.4}), **SAVED)
    whole, cut = (job | {"out": str(tmp_path / name)} for name in ("whole", "cut"))
    (tmp_path / "whole/dpkd").mkdir(parents=True)
    (tmp_path / "whole/dpkd/cut").touch()
    here("trial", whole)
    cut_off(cut)
    here("trial", cut)
    folder = tmp_path / "cut/dpkd/1"
    assert report(folder)["continued"] == 6
    assert same(folder, tmp_path / "whole/dpkd/1")
