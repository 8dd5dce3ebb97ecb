"""The logit losses: the exact facts they rest on, and the mistakes they are known to invite."""

import hashlib

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import Trainer, TrainingArguments

from baselines.methods.kd import cross_entropy, distillation, pseudo_labels
from tests.baselines.methods.numeric import gradient_error

TEMPERATURES = st.floats(0.1, 100)
SEEDS = st.integers(0, 2**31)
SOME = settings(max_examples=25, deadline=None)


def logits(seed, rows=6, classes=5, scale=3.0):
    """Student logits that need a gradient, and teacher logits."""
    student, teacher = scale * torch.randn(2, rows, classes, generator=torch.Generator().manual_seed(seed))
    return student.requires_grad_(), teacher


def gradient(loss, *inputs):
    return torch.autograd.grad(loss, inputs)[0]


@SOME
@given(SEEDS, TEMPERATURES)
def test_kd_01_loss_and_gradient_vanish_at_the_teacher(seed, temperature):
    student, _ = logits(seed)
    loss = distillation(student, student.detach(), temperature)
    assert abs(loss.item()) < 1e-6 * temperature**2
    assert gradient(loss, student).abs().max() < 1e-6 * max(temperature, 1)


@SOME
@given(SEEDS, TEMPERATURES, st.floats(-20, 20))
def test_kd_02_a_constant_per_row_changes_nothing(seed, temperature, shift):
    student, teacher = logits(seed)
    row = shift * torch.arange(6.0)[:, None]
    loss = distillation(student, teacher, temperature)
    close = dict(rtol=1e-3, atol=1e-6 * temperature**2 + 1e-4)
    torch.testing.assert_close(distillation(student + row, teacher, temperature), loss, **close)
    torch.testing.assert_close(distillation(student, teacher - row, temperature), loss, **close)


@SOME
@given(SEEDS, TEMPERATURES)
def test_kd_03_gradient_is_temperature_times_the_difference_of_probabilities(seed, temperature):
    student, teacher = logits(seed)
    got = gradient(distillation(student, teacher, temperature), student) * len(student)
    expected = temperature * ((student / temperature).softmax(-1) - (teacher / temperature).softmax(-1))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5 * max(temperature, 1))


def test_kd_03_gradient_equals_finite_differences():
    student, teacher = logits(0, rows=3, classes=3)
    assert gradient_error(lambda z: distillation(z, teacher.double(), 3.0), student) < 1e-5
    assert gradient_error(lambda z: cross_entropy(z, torch.tensor([0, -100, 2])), student) < 1e-5


def test_kd_04_squared_temperature_keeps_the_gradient_size():
    student, teacher = logits(0, rows=64, classes=10, scale=1.0)
    norms = [gradient(distillation(student, teacher, t), student).norm() for t in (1, 4, 20, 100, 1000)]
    assert max(norms) / min(norms) < 1.5
    bare = gradient(distillation(student, teacher, 1000) / 1000**2, student).norm()
    assert bare < 1e-5 * norms[0]


@SOME
@given(SEEDS, TEMPERATURES)
def test_kd_05_loss_is_not_negative(seed, temperature):
    assert distillation(*logits(seed), temperature) > -1e-6 * temperature**2


@SOME
@given(SEEDS, st.integers(1, 9))
def test_kd_06_full_labels_give_torch_cross_entropy_bit_for_bit(seed, rows):
    student, _ = logits(seed, rows)
    labels = torch.randint(5, (rows,), generator=torch.Generator().manual_seed(seed))
    ours, torchs = cross_entropy(student, labels), F.cross_entropy(student, labels)
    assert torch.equal(ours, torchs)
    assert torch.equal(gradient(ours, student), gradient(torchs, student))


def test_kd_06_alpha_zero_ignores_the_teacher_and_alpha_one_the_labels(models, rows, experiment, kd_selective):
    def trained(alpha, label=None, certain=1.0):
        """The student's head after one step from the same start, bit for bit comparable."""
        torch.manual_seed(1)
        data, student, teacher = rows.text(4), models.distilbert(), models.bert()
        teacher.classifier.weight.data *= certain
        for row in data:
            row["labels"] = row["labels"] if label is None else torch.tensor(label)
        kd_selective["train"](experiment(student, teacher, data, alpha=alpha, beta=0.0))
        return student.classifier.weight

    assert torch.equal(trained(0.0), trained(0.0, certain=5.0))
    assert torch.equal(trained(1.0, label=-100), trained(1.0, label=2))
    assert not torch.equal(trained(0.5), trained(0.5, certain=5.0))
    assert not torch.equal(trained(0.5, label=-100), trained(0.5, label=2))


@SOME
@given(SEEDS, st.permutations(range(5)), st.permutations(range(6)))
def test_kd_07_order_of_classes_and_of_rows_does_not_matter(seed, classes, order):
    student, teacher = logits(seed)
    loss = distillation(student, teacher, 3.0)
    torch.testing.assert_close(distillation(student[:, classes], teacher[:, classes], 3.0), loss)
    torch.testing.assert_close(distillation(student[order], teacher[order], 3.0), loss)
    got = gradient(distillation(student[:, classes], teacher[:, classes], 3.0), student)
    torch.testing.assert_close(got, gradient(loss, student))


def test_kd_08_micro_batch_gradients_add_up_to_the_batch():
    student, teacher = logits(0, rows=8)
    labels = torch.tensor([0, -100, -100, 1, -100, -100, 4, 2])  # unevenly labelled micro-batches

    def loss(part):
        return cross_entropy(student[part], labels[part]) + distillation(student[part], teacher[part], 3.0)

    parts = [slice(start, start + 2) for start in range(0, 8, 2)]
    added = sum(gradient(loss(part) / len(parts), student) for part in parts)
    torch.testing.assert_close(added, gradient(loss(slice(None)), student))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_kd_09_half_precision_logits_give_an_fp32_loss(dtype):
    student, teacher = logits(0, rows=256, classes=10, scale=1.0)
    labels = torch.arange(256) % 10
    half_student, half_teacher = student.to(dtype), teacher.to(dtype)
    for loss in (lambda s, t: distillation(s, t, 3.0), lambda s, t: cross_entropy(s, labels)):
        half = loss(half_student, half_teacher)
        assert half.dtype == torch.float32
        assert torch.equal(half, loss(half_student.float(), half_teacher.float()))
        torch.testing.assert_close(half, loss(student, teacher), rtol=0, atol=1e-3)


def test_kd_10_teacher_is_untouched_by_training(models, rows, experiment, kd_selective):
    def digest(model):
        return hashlib.sha256(b"".join(value.numpy().tobytes() for value in model.state_dict().values())).hexdigest()

    made = experiment(models.distilbert(), models.bert(), rows.text(8))
    teacher, student = made.teacher.model(), digest(made.student)
    before = digest(teacher)
    kd_selective["train"](made)
    assert digest(teacher) == before and digest(made.student) != student
    assert all(parameter.grad is None for parameter in teacher.parameters())


@pytest.mark.parametrize(("stored", "tolerance"), [(torch.float32, 1e-5), (torch.float16, 1e-3)])
def test_kd_12_cached_and_online_logits_give_the_same_loss(models, rows, stored, tolerance):
    teacher, student, data = models.bert(), models.distilbert(), rows.text(8)
    with torch.no_grad():
        cache = torch.cat([teacher(**rows.inputs_of(rows.collate([row]))).logits for row in data]).to(stored)
        batch = rows.inputs_of(rows.collate(data))
        online, ours = teacher(**batch).logits, student(**batch).logits
    torch.testing.assert_close(distillation(ours, cache, 3.0), distillation(ours, online, 3.0), rtol=0, atol=tolerance)


def test_no_labelled_row_gives_a_finite_zero():
    student, _ = logits(0)
    loss = cross_entropy(student, torch.full((6,), -100))
    assert loss == 0 and torch.equal(gradient(loss, student), torch.zeros_like(student))


def test_a_batch_of_one_class_is_finite():
    student, teacher = logits(0)
    assert cross_entropy(student, torch.zeros(6, dtype=torch.long)).isfinite()
    assert distillation(student, torch.zeros_like(teacher) + torch.tensor([1e4, 0, 0, 0, 0]), 3.0).isfinite()


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        distillation(*logits(0), temperature)


def test_shapes_that_would_broadcast_are_refused():
    student, teacher = logits(0)
    with pytest.raises(ValueError, match=r"\[6, 5\].*\[1, 5\]"):
        distillation(student, teacher[:1], 3.0)
    with pytest.raises(ValueError, match="one column"):
        distillation(student[:, :1], teacher[:, :1], 3.0)


def test_pseudo_labels_fill_only_the_gaps():
    teacher = torch.tensor([[0.0, 9.0], [0.0, 9.0], [9.0, 0.0]])
    assert pseudo_labels(torch.tensor([0, -100, -100]), teacher).tolist() == [0, 1, 0]


def test_large_temperature_is_logit_matching():
    student, teacher = logits(0, rows=32, classes=10, scale=1.0)
    centred = [z - z.mean(dim=-1, keepdim=True) for z in (student, teacher)]
    limit = (centred[0] - centred[1]) / 10 / 32

    def distance(temperature):
        got = gradient(distillation(student, teacher, temperature), student)
        return ((got - limit).norm() / limit.norm()).item()

    distances = [distance(temperature) for temperature in (3, 20, 100)]
    assert distances == sorted(distances, reverse=True) and distances[-1] < 0.02


def test_small_temperature_is_finite_where_log_of_softmax_is_not():
    student, teacher = logits(0)
    p, q = (teacher / 1e-3).softmax(-1), (student / 1e-3).softmax(-1)
    assert (p * (p.log() - q.log())).sum().isnan()
    loss = distillation(student, teacher, 1e-3)
    assert loss.isfinite() and gradient(loss, student).isfinite().all()


@pytest.mark.parametrize(("classes", "floor"), [(2, 0.313), (3, 0.551)])
def test_a_double_softmax_shows_as_a_floor_that_logits_do_not_have(classes, floor):
    labels = torch.zeros(1, dtype=torch.long)
    perfect = torch.tensor([[1e3] + [0.0] * (classes - 1)])
    assert cross_entropy(perfect.softmax(-1), labels).item() == pytest.approx(floor, abs=1e-3)
    assert cross_entropy(perfect, labels) == 0


def test_trainer_divides_the_loss_only_when_told_that_it_is_a_mean(models, rows, tmp_path):
    class Plain(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            return cross_entropy(model(**rows.inputs_of(inputs)).logits, inputs["labels"])

    data = rows.text(32)

    def update(batch_size, accumulation, told):
        torch.manual_seed(1)
        model = models.bert(layers=1)
        before = model.classifier.weight.detach().clone()
        arguments = TrainingArguments(
            output_dir=tmp_path,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulation,
            max_steps=1,
            max_grad_norm=0.0,
            use_cpu=True,
            report_to="none",
            save_strategy="no",
            disable_tqdm=True,
        )
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
        trainer = Plain(model, arguments, rows.collate, data, optimizers=(optimizer, schedule))
        if told:
            trainer.model_accepts_loss_kwargs = False
        trainer.train()
        return model.classifier.weight.detach() - before

    whole = update(32, 1, told=True)
    torch.testing.assert_close(update(8, 4, told=True), whole, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(update(8, 4, told=False), 4 * whole, rtol=1e-3, atol=1e-6)
