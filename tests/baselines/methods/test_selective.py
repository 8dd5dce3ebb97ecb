"""Layer selection: which layers meet, what is compared, and the finished train.py that does it."""

import copy
from itertools import pairwise
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import RobertaConfig, RobertaForSequenceClassification, TrainerCallback

from baselines.methods.critical import critical_layers
from baselines.methods.initialise import init_from_teacher
from baselines.methods.kd import cross_entropy
from baselines.methods.layer_map import layer_pairs
from baselines.methods.selective import Projections, cls_loss, cosine_loss, feature_loss
from baselines.models.layers import features, spatial, taps, widths
from tests.baselines.methods.numeric import gradient_error

TEMPLATE = Path(__file__).parents[3] / "templates" / "train" / "kd_selective.py"
SOME = settings(max_examples=25, deadline=None)


def states(*widths, rows=3, tokens=5):
    return [torch.randn(rows, tokens, width) for width in widths]


def maps(*shapes, rows=3):
    return [torch.randn(rows, *shape) for shape in shapes]


class Watch(TrainerCallback):
    """Keeps the projection weights from before and after training."""

    def on_train_begin(self, args, state, control, model, **kwargs):
        self.before = [value.clone() for value in model.projections.state_dict().values()]

    def on_train_end(self, args, state, control, model, **kwargs):
        self.after = [value.clone() for value in model.projections.state_dict().values()]


def test_transformer_layers_are_the_blocks_after_the_embedding(models):
    roberta = RobertaForSequenceClassification(
        RobertaConfig(vocab_size=9, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=8)
    )
    assert [taps(model) for model in (models.bert(4), models.distilbert(3), roberta)] == [
        (1, 2, 3, 4),
        (1, 2, 3),
        (1, 2),
    ]
    assert widths(models.bert(4, width=32, heads=4)) == (32,) * 4 and not spatial(roberta)


def test_mobilenet_layers_are_the_last_blocks_of_each_resolution(models):
    model = models.mobilenet(1.0).eval()
    with torch.no_grad():
        hidden_states = model(torch.randn(1, 3, 224, 224), output_hidden_states=True).hidden_states
    sizes = [state.shape[-1] for state in hidden_states]
    ends = [i for i, size in enumerate(sizes) if size not in sizes[i + 1 :]]
    assert taps(model) == tuple(ends) == (1, 4, 11, 15)
    assert [sizes[i] for i in ends[-3:]] == [28, 14, 7]
    assert widths(model) == tuple(hidden_states[i].shape[1] for i in ends) == (24, 32, 96, 320)


def test_resnet_layers_are_the_stages(models):
    model = models.resnet().eval()
    with torch.no_grad():
        hidden_states = model(torch.randn(1, 3, 64, 64), output_hidden_states=True).hidden_states
    assert taps(model) == (1, 2, 3, 4) and len(hidden_states) == 5 and spatial(model)
    assert [x.shape[1:] for x in features(model, hidden_states, (2, 4))] == [(16, 8, 8), (32, 2, 2)]
    assert widths(model) == (8, 16, 24, 32)


@SOME
@given(st.sampled_from(["layer", "none", "l2"]), st.integers(0, 2**31))
def test_sel_01_loss_is_zero_at_the_teacher(norm, seed):
    torch.manual_seed(seed)
    tokens, pictures = states(8, 8), maps((4, 3, 3), (6, 2, 2))
    assert feature_loss(tokens, tokens, Projections((8, 8), (8, 8), spatial=False), norm=norm) < 1e-12
    assert feature_loss(pictures, pictures, Projections((4, 6), (4, 6), spatial=True), norm=norm) < 1e-12
    assert feature_loss(tokens, states(8, 8), Projections((8, 8), (8, 8), spatial=False), norm=norm) > 1e-3
    assert cls_loss(tokens, tokens) < 1e-12 and cosine_loss(tokens, tokens).abs() < 1e-6


@pytest.mark.parametrize(
    ("sizes", "last", "last_stretched", "skip"),
    [
        ((12, 6), ((4, 10), (5, 11), (6, 12)), ((2, 10), (4, 11), (6, 12)), ((2, 4), (4, 8), (6, 12))),
        ((12, 4), ((2, 10), (3, 11), (4, 12)), ((1, 10), (3, 11), (4, 12)), ((1, 4), (3, 8), (4, 12))),
        ((6, 3), ((1, 4), (2, 5), (3, 6)), ((1, 4), (2, 5), (3, 6)), ((1, 2), (2, 4), (3, 6))),
        ((12, 12), ((10, 10), (11, 11), (12, 12)), ((4, 10), (8, 11), (12, 12)), ((4, 4), (8, 8), (12, 12))),
    ],
)
def test_sel_02_map_tables(sizes, last, last_stretched, skip):
    assert layer_pairs("last", *sizes, 3) == last
    assert layer_pairs("last_stretched", *sizes, 3) == last_stretched
    assert layer_pairs("skip", *sizes, 3) == skip
    assert layer_pairs("last1", *sizes, 3) == last[-1:]
    for name in ("last", "last_stretched", "skip"):
        for k in range(1, min(sizes) + 1):
            pairs = layer_pairs(name, *sizes, k)
            assert len(pairs) == k and pairs[-1] == last[-1] and min(pairs[0]) >= 1
            assert all(a < c and b < d for (a, b), (c, d) in pairwise(pairs))


@pytest.mark.parametrize("k", [0, 7])
def test_sel_02_an_illegal_k_names_the_largest_legal_one(k):
    with pytest.raises(ValueError, match="choose 1 to 6"):
        layer_pairs("last", 12, 6, k)


def test_sel_02_a_deeper_student_fits_only_the_last_layers():
    assert layer_pairs("last", 3, 6, 2) == ((5, 2), (6, 3))
    assert layer_pairs("last1", 3, 6, 2) == ((6, 3),)
    with pytest.raises(ValueError, match='only "last" and "last1"'):
        layer_pairs("skip", 3, 6, 2)


@pytest.mark.parametrize("signal", ["hidden", "cls", "cos"])
def test_sel_03_padding_changes_nothing(models, rows, signal):
    student, teacher = models.distilbert(3), models.bert(3)
    projections = Projections((16,) * 3, (16,) * 3, spatial=False)
    torch.nn.init.normal_(projections.maps[0].weight)

    @torch.no_grad()
    def loss(padding):
        batch = rows.inputs_of(rows.collate(rows_drawn))
        ids, mask = (F.pad(value, (0, padding)) for value in (batch["input_ids"], batch["attention_mask"]))
        outputs = [model(ids, mask, output_hidden_states=True) for model in (student, teacher)]
        hidden = [output.hidden_states[1:] for output in outputs]
        return {
            "hidden": lambda: feature_loss(*hidden, projections, mask),
            "cls": lambda: cls_loss(*hidden, projections),
            "cos": lambda: cosine_loss(*hidden, projections, mask),
        }[signal]()

    rows_drawn = rows.text(4)
    assert loss(0) > 1e-5
    torch.testing.assert_close(loss(7), loss(0), rtol=1e-4, atol=1e-7)


def test_sel_04_projections_learn_and_are_not_saved(models, rows, experiment, kd_selective):
    made = experiment(models.distilbert(width=8), models.bert(), rows.text(4))
    before, watch = set(made.student.state_dict()), Watch()
    made.callbacks.append(watch)
    trained = kd_selective["train"](made)
    assert len(watch.before) == 6  # a weight and a bias for each of three pairs
    assert not any(torch.equal(old, new) for old, new in zip(watch.before, watch.after, strict=True))
    assert set(trained.state_dict()) == before


@pytest.mark.parametrize("layers", ["last", [1, 2, 3, 4, 5, 6]])
def test_sel_05_copying_every_block_reproduces_the_teacher(models, rows, layers):
    teacher, student = models.bert(6), models.distilbert(6)
    batch = rows.inputs_of(rows.collate(rows.text(4)))
    keep = batch["attention_mask"].bool()

    @torch.no_grad()
    def furthest():
        pair = [model(**batch, output_hidden_states=True).hidden_states for model in (student, teacher)]
        return max((s - t)[keep].abs().max().item() for s, t in zip(*pair, strict=True))

    assert furthest() > 0.1
    init_from_teacher(student, teacher, layers)
    assert furthest() < 1e-5


def test_sel_06_different_widths_meet_only_through_projections():
    student, teacher = states(8, 8), states(12, 12)
    for loss in (feature_loss, cls_loss, cosine_loss):
        with pytest.raises(ValueError, match="width 8 cannot meet width 12: pass Projections"):
            loss(student, teacher)
        projections = Projections((8, 8), (12, 12), spatial=False)
        loss(student, teacher, projections).backward()
        assert all(layer.weight.grad.abs().sum() > 0 for layer in projections.maps)


def test_sel_08_teacher_answers_once_per_step_and_no_hook_stays(models, rows, experiment, kd_selective):
    def hooks():
        return sum(len(m._forward_hooks) for model in (made.student, teacher) for m in model.modules())

    made = experiment(models.distilbert(), models.bert(), rows.text(12))
    teacher = made.teacher.model()
    for model in (made.student, teacher):  # transformers leaves its own capture hooks at the first request
        model(**rows.inputs_of(rows.collate(rows.text(2))), output_hidden_states=True)
    before = hooks()
    kd_selective["train"](made)
    assert made.teacher.calls == 3  # 12 rows in batches of 4
    critical_layers(teacher, _batches(rows, 1), 2)
    assert hooks() == before


def test_sel_09_gradient_stops_at_the_mapped_block(models, rows):
    student, batch = models.distilbert(3), rows.inputs_of(rows.collate(rows.text(4)))
    hidden_states = student(**batch, output_hidden_states=True).hidden_states
    feature_loss(features(student, hidden_states, (2,)), states(16, rows=4, tokens=10)).backward()
    reached = [
        any(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in block.parameters())
        for block in student.distilbert.transformer.layer
    ]
    assert reached == [True, True, False] and student.classifier.weight.grad is None


def test_sel_10_token_signals_across_tokenizers_are_refused():
    with pytest.raises(ValueError, match=r"different positions"):
        feature_loss(states(8, tokens=5), states(8, tokens=6))
    assert cls_loss(states(8, tokens=5), states(8, tokens=6)).isfinite()


def test_hidden_loss_is_the_formula():
    (student,), (teacher,) = states(4), states(6)
    projections = Projections((4,), (6,), spatial=False)
    torch.nn.init.normal_(projections.maps[0].bias)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    weight, bias = projections.maps[0].weight, projections.maps[0].bias
    expected = sum(
        ((weight @ student[b, token] + bias - teacher[b, token]) ** 2).sum() / 6 for b, token in mask.nonzero()
    )
    got = feature_loss([student], [teacher], projections, mask, norm="none")
    torch.testing.assert_close(got, expected / mask.sum())


def test_map_loss_is_mean_squared_error_after_pooling_the_larger_side():
    student, teacher = maps((4, 8, 8), (4, 2, 2)), maps((6, 4, 4), (6, 4, 4))
    projections = Projections((4, 4), (6, 6), spatial=True)
    first = F.mse_loss(F.avg_pool2d(projections.maps[0](student[0]), 2), teacher[0])
    second = F.mse_loss(projections.maps[1](student[1]), F.avg_pool2d(teacher[1], 2))
    got = feature_loss(student, teacher, projections, norm="none")
    torch.testing.assert_close(got, (first + second) / 2)


def test_layer_norm_makes_the_loss_blind_to_scale():
    student, teacher = states(8, 8), states(8, 8)
    scaled = [100 * x + 3 for x in student]
    torch.testing.assert_close(feature_loss(scaled, teacher), feature_loss(student, teacher), rtol=1e-3, atol=1e-3)
    assert feature_loss(scaled, teacher, norm="none") > 100 * feature_loss(student, teacher, norm="none")


def test_half_precision_features_are_compared_in_fp32():
    student, teacher = ([x.half() for x in states(8)] for _ in range(2))
    for loss in (feature_loss, cls_loss, cosine_loss):
        got = loss(student, teacher)
        assert got.dtype == torch.float32
        assert torch.equal(got, loss([x.float() for x in student], [x.float() for x in teacher]))


def test_projections_start_at_identity_or_orthogonal():
    student = states(8)[0]
    assert torch.equal(Projections((8,), (8,), spatial=False)([student])[0], student)
    weight = Projections((8,), (12,), spatial=True).maps[0].weight.flatten(1)
    torch.testing.assert_close(weight.T @ weight, torch.eye(8))


def test_cls_and_cosine_see_directions_only():
    student, teacher = states(8), states(8)
    for loss in (cls_loss, cosine_loss):
        torch.testing.assert_close(loss([5 * x for x in student], teacher), loss(student, teacher))
    flipped = [-x for x in student]
    torch.testing.assert_close(cls_loss(flipped, student), torch.tensor(4.0))
    torch.testing.assert_close(cosine_loss(flipped, student), torch.tensor(2.0))
    other_tokens = [torch.cat([x[:, :1], torch.randn_like(x[:, 1:])], dim=1) for x in student]
    assert cls_loss(other_tokens, student) == 0 < cosine_loss(other_tokens, student)
    with pytest.raises(ValueError, match="maps have no first token"):
        cls_loss(maps((4, 2, 2)), maps((4, 2, 2)))


@pytest.mark.parametrize("norm", ["layer", "none", "l2"])
def test_feature_gradient_equals_finite_differences(norm):
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    student, teacher = states(4, 4, rows=2, tokens=3)
    assert gradient_error(lambda x: feature_loss([x], [teacher.double()], None, mask, norm), student) < 1e-5
    student, teacher = maps((3, 4, 4), (3, 2, 2), rows=2)
    assert gradient_error(lambda x: feature_loss([x], [teacher.double()], norm=norm), student) < 1e-5


def test_other_gradients_equal_finite_differences():
    student, teacher = states(4, 4, rows=2, tokens=3)
    assert gradient_error(lambda x: cls_loss([x], [teacher.double()]), student) < 1e-5
    assert gradient_error(lambda x: cosine_loss([x], [teacher.double()]), student) < 1e-5


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("loss", [feature_loss, cls_loss, cosine_loss])
def test_teacher_features_need_no_gradient(models, rows, loss, mode):
    own, taken, embedding = _final_states(models, rows, mode)
    loss(own, taken).backward()
    assert embedding.grad.abs().sum() > 0


def test_mse_loss_fails_on_features_taken_under_inference_mode(models, rows):
    own, taken, _ = _final_states(models, rows, torch.no_grad)
    F.mse_loss(own[0], taken[0]).backward()
    own, taken, _ = _final_states(models, rows, torch.inference_mode)
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        F.mse_loss(own[0], taken[0])


def _final_states(models, rows, mode):
    student, teacher = models.distilbert(), models.bert()
    batch = rows.inputs_of(rows.collate(rows.text(4)))
    with mode():
        taken = teacher(**batch, output_hidden_states=True).hidden_states[-1:]
    own = student(**batch, output_hidden_states=True).hidden_states[-1:]
    return own, taken, student.distilbert.embeddings.word_embeddings.weight


def _batches(rows, count):
    return [{name: value for name, value in rows.collate(rows.text(8)).items() if name != "ids"} for _ in range(count)]


def _stack(model):
    return getattr(model.base_model, "encoder", None) or model.base_model.transformer


@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_critical_layers_finds_the_one_block_that_works(models, rows, family):
    model, batches = getattr(models, family)(3), _batches(rows, 2)
    _leave_one_working(model.base_model, _stack(model).layer, 1)
    _label_by_what_a_block_tells(model, 1, batches)
    blocks, scores = critical_layers(model, batches, 1)
    assert blocks == (2,) and scores[1] > 100 * max(abs(scores[0]), abs(scores[2]))


@torch.no_grad()
def _label_by_what_a_block_tells(model, index, batches):
    """The classes that the model finds likelier with the block than without it."""
    without = copy.deepcopy(model)
    del _stack(without).layer[index]
    for batch in batches:
        inputs = batch["input_ids"], batch["attention_mask"]
        batch["labels"] = (model(*inputs).logits.log_softmax(-1) - without(*inputs).logits.log_softmax(-1)).argmax(-1)


@torch.no_grad()
def _leave_one_working(base, blocks, working):
    """Every layer norm plain, and the sublayers of all other blocks add nothing: those blocks are the identity."""
    for index, block in enumerate(blocks):
        for parameter in block.parameters() if index != working else ():
            parameter.zero_()
    for module in base.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.reset_parameters()


def test_critical_scores_equal_the_loss_of_the_model_without_the_block(models, rows):
    model, batches = models.bert(3), _batches(rows, 2)
    _, scores = critical_layers(model, batches, 1)

    @torch.no_grad()
    def loss():
        outputs = [model(batch["input_ids"], batch["attention_mask"]).logits for batch in batches]
        return cross_entropy(torch.cat(outputs), torch.cat([batch["labels"] for batch in batches])).item()

    whole = loss()
    del model.bert.encoder.layer[1]
    assert scores[1] == pytest.approx(loss() - whole, abs=1e-5) and abs(scores[1]) > 1e-4


def test_critical_ties_go_to_the_later_block(models, rows):
    model = models.bert(3)
    torch.nn.init.zeros_(model.classifier.weight)
    blocks, scores = critical_layers(model, _batches(rows, 1), 2)
    assert len(set(scores)) == 1 and blocks == (2, 3)


def test_critical_layers_align_to_the_last_of_the_student():
    assert layer_pairs("critical", 12, 6, 3, critical=(9, 2, 5)) == ((4, 2), (5, 5), (6, 9))
    with pytest.raises(ValueError, match="measure them with critical_layers"):
        layer_pairs("critical", 12, 6, 3)


def test_critical_layers_need_a_transformer(models):
    for model in (models.resnet(), models.mobilenet()):
        with pytest.raises(ValueError, match="has no transformer blocks"):
            critical_layers(model, [{"pixel_values": torch.randn(2, 3, 64, 64), "labels": torch.tensor([0, 1])}], 1)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ("last", [7, 8, 9, 10, 11, 12]),
        ("first", [1, 2, 3, 4, 5, 6]),
        ("alternate", [1, 3, 5, 8, 10, 12]),
        ([12, 1, 1, 4, 7, 2], [12, 1, 1, 4, 7, 2]),
    ],
)
@pytest.mark.parametrize("family", ["bert", "distilbert"])
def test_init_copies_the_chosen_blocks(models, family, layers, expected):
    teacher, student = models.bert(12), getattr(models, family)(6)
    init_from_teacher(student, teacher, layers)
    stack = student.base_model.encoder if family == "bert" else student.base_model.transformer
    ours = [block.intermediate.dense if family == "bert" else block.ffn.lin1 for block in stack.layer]
    theirs = [block.intermediate.dense.weight for block in teacher.bert.encoder.layer]
    copied = [[i for i, weight in enumerate(theirs, 1) if torch.equal(weight, own.weight)] for own in ours]
    assert copied == [[layer] for layer in expected]


def test_init_leaves_the_head_and_the_teacher_alone(models):
    teacher, student = models.bert(3), models.distilbert(3)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    head = student.pre_classifier.weight.clone(), student.classifier.weight.clone()
    init_from_teacher(student, teacher, "first")
    with torch.no_grad():
        student.distilbert.embeddings.word_embeddings.weight.zero_()
    assert torch.equal(student.pre_classifier.weight, head[0]) and torch.equal(student.classifier.weight, head[1])
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        (dict(width=8), "width 16 → 8"),
        (dict(heads=4), "heads 2 → 4"),
        (dict(hidden_dim=64), "feed-forward width 32 → 64"),
        (dict(vocab_size=41), "vocabulary 40 → 41"),
    ],
)
def test_init_refuses_a_shape_that_differs_and_suggests_projections(models, changed, named):
    with pytest.raises(ValueError, match=f"{named}.*use projection losses"):
        init_from_teacher(models.distilbert(3, **changed), models.bert(3), "last")


def test_init_refuses_other_families_and_impossible_layers(models):
    with pytest.raises(ValueError, match="bert student cannot start from distilbert"):
        init_from_teacher(models.bert(3), models.distilbert(3), "last")
    with pytest.raises(ValueError, match="no transformer blocks"):
        init_from_teacher(models.resnet(), models.resnet(), "last")
    for layers in ([1, 2], [0, 1, 2], [1, 2, 5], "last"):
        student = models.distilbert(5 if layers == "last" else 3)
        with pytest.raises(ValueError, match=r"cannot start from blocks .* of a 4-block teacher"):
            init_from_teacher(student, models.bert(4), layers)


@pytest.mark.parametrize(("signal", "beta"), [("hidden", 1.0), ("cls", 1.0), ("cos", 1.0), ("crd", 0.1)])
def test_template_brings_text_features_closer(models, rows, experiment, kd_selective, signal, beta):
    arguments = {"num_train_epochs": 5}
    made = experiment(
        models.distilbert(), models.bert(), rows.text(16), signal=signal, beta=beta, queue=4, arguments=arguments
    )
    kd_selective["train"](made)
    distances = [terms["feature"] for terms in made.logged]
    assert len(distances) == 20 and set(made.logged[0]) == {"task", "distillation", "feature"}
    assert sum(distances[-4:]) < 0.9 * sum(distances[:4])


@pytest.mark.parametrize(("signal", "beta"), [("hidden", 1.0), ("attention", 100.0), ("crd", 0.1)])
def test_template_brings_image_features_closer(models, rows, experiment, kd_selective, signal, beta):
    arguments = {"num_train_epochs": 8, "per_device_train_batch_size": 8}
    made = experiment(models.mobilenet(), models.resnet(), rows.image(8), signal=signal, beta=beta, arguments=arguments)
    kd_selective["train"](made)
    distances = [terms["feature"] for terms in made.logged]
    assert len(distances) == 8 and distances[-1] < 0.8 * distances[0]


@pytest.mark.parametrize("kind", ["text", "image"])
def test_template_brings_relations_between_rows_closer(models, rows, experiment, kd_selective, kind):
    pair = (models.distilbert(), models.bert()) if kind == "text" else (models.mobilenet(), models.resnet())
    arguments = {"num_train_epochs": 12, "per_device_train_batch_size": 8}
    made = experiment(*pair, getattr(rows, kind)(8), signal="relation", beta=25.0, rate=0.003, arguments=arguments)
    kd_selective["train"](made)
    assert made.logged[-1]["feature"] < 0.8 * made.logged[0]["feature"]


@pytest.mark.parametrize("signal", ["hidden", "cls", "cos"])
def test_template_measures_the_planned_distance_on_valid_tokens(models, rows, experiment, kd_selective, signal):
    made = experiment(models.distilbert(3), models.bert(4), rows.text(4), signal=signal, norm="l2", layers=2)
    batch = rows.collate(made.train_dataset.rows)
    with torch.no_grad():
        hidden_states = made.student(**rows.inputs_of(batch), output_hidden_states=True).hidden_states
    sides, mask = (hidden_states[2:], made.teacher.features(batch, (3, 4))), batch["attention_mask"]
    expected = {
        "hidden": lambda: feature_loss(*sides, attention_mask=mask, norm="l2"),
        "cls": lambda: cls_loss(*sides),
        "cos": lambda: cosine_loss(*sides, attention_mask=mask),
    }[signal]()
    kd_selective["train"](made)
    assert made.logged[0]["feature"] == pytest.approx(expected.item(), rel=1e-4)


def test_template_pairs_the_layers_that_cost_the_teacher_most_and_logs_them(models, rows, experiment, kd_selective):
    made = experiment(models.distilbert(3), models.bert(4), rows.text(4), layer_map="critical", layers=2)
    made.teacher.scores = (0.4, 0.1, 0.3, 0.2)
    kd_selective["train"](made)
    assert made.pairs == {"teacher_layer_of_2": 1, "teacher_layer_of_3": 3}
    made.teacher.scores = ()
    with pytest.raises(ValueError, match="measure them with critical_layers"):
        kd_selective["train"](made)


@pytest.mark.parametrize("signal", ["relation", "crd"])
def test_template_ships_no_part_of_a_signal(models, rows, experiment, kd_selective, signal):
    made = experiment(models.mobilenet(), models.resnet(), rows.image(4), signal=signal)
    names = set(made.student.state_dict())
    assert set(kd_selective["train"](made).state_dict()) == names


def test_template_trains_on_unlabelled_rows_too(models, rows, experiment, kd_selective):
    labelled, unlabelled = rows.text(4), rows.text(8, labelled=False)
    for row in unlabelled:
        row["ids"] = row["ids"] + 100
    made = experiment(models.distilbert(), models.bert(), labelled, unlabelled)
    kd_selective["train"](made)
    assert sorted(made.seen) == [*range(4), *range(100, 108)]


def test_template_starts_from_the_teacher(models, rows, experiment, kd_selective):
    plain, started = (
        experiment(models.distilbert(3), models.bert(3), rows.text(4), init_layers=layers)
        for layers in ("none", "last")
    )
    for made in (plain, started):
        kd_selective["train"](made)
    assert started.logged[0]["feature"] < 1e-9 < plain.logged[0]["feature"]


def test_template_step_does_not_depend_on_gradient_accumulation(models, rows, experiment, kd_selective):
    data = rows.text(16)

    def update(batch_size, accumulation):
        torch.manual_seed(1)
        arguments = dict(per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulation)
        made = experiment(models.distilbert(), models.bert(), data, rate=0.01, arguments=arguments, signal="cls")
        before = made.student.classifier.weight.detach().clone()
        return kd_selective["train"](made).classifier.weight.detach() - before

    whole = update(16, 1)
    assert whole.abs().max() > 1e-5
    torch.testing.assert_close(update(4, 4), whole, rtol=1e-3, atol=1e-7)


def test_template_refuses_an_unknown_signal(models, rows, experiment, kd_selective):
    with pytest.raises(ValueError, match="unknown signal 'none'"):
        kd_selective["train"](experiment(models.distilbert(), models.bert(), rows.text(4), signal="none"))


def test_template_fits_on_one_page():
    assert len(TEMPLATE.read_text().splitlines()) <= 100
