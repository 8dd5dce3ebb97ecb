"""Each lint fires where it should, and only there."""

from typing import Any

import pytest

from agent.plan import planner
from agent.plan.freeze import freeze
from agent.plan.lint import Lint
from agent.plan.options import Options
from agent.plan.plan import Plan
from agent.plan.proposal import Proposal
from agent.plan.rules import foreseen, lint
from tests.agent.prepared import prepared

PROSE = dict.fromkeys(("title", "objective", "hypothesis", "methodology"), "some words")
MODELS = {"teacher": {"parameters": 100, "layers": 3}, "student": {"parameters": 10, "layers": 3}}
SELECTIVE = {"method.name": "kd_selective"}


def lints(
    values: dict[str, Any], task: str = "docstrings", scale: Any = "demo", models: dict[str, Any] = MODELS
) -> list[Lint]:
    wanted = Options(idea="efficient KD", scale=scale, tasks=(task,), values={"method.name": "kd"} | values)
    said = Proposal.model_validate(PROSE | {"method": "kd"})
    plan = freeze(planner.draft(wanted), wanted, said, {})
    plan = plan.model_copy(update={"tracks": tuple(_real(plan, task))})
    return lint(plan, {task: prepared(models)})


def _real(plan: Plan, task: str) -> Any:
    """Tracks with the kind that the data would have given them."""
    for track in plan.tracks:
        kind = "image" if task in ("digits", "cifar10") else "language" if task.endswith("_text") else "text"
        yield track.model_copy(update={"task": track.task.model_copy(update={"kind": kind, "test_rows": 2000})})


@pytest.mark.parametrize(
    ("task", "method"),
    [
        *((task, method) for task in ("docstrings", "digits") for method in ("finetune", "kd", "kd_selective")),
        *(("docstrings_text", method) for method in ("finetune", "kd", "miniplm")),
    ],
)
def test_default_plans_give_no_cause(task: str, method: str) -> None:
    assert lints({"method.name": method}, task) == []


@pytest.mark.parametrize(
    ("task", "values", "field", "says"),
    [
        ("docstrings", {"seeds": [0, 1, 2, 3, 4]}, "seeds", "5 seeds cannot reach the level 0.05"),
        ("docstrings", {"learning_rate": 0.1}, "tracks.docstrings.training.learning_rate", "0.1 is outside"),
        ("docstrings", {"learning_rate": 1e-6}, "tracks.docstrings.training.learning_rate", "1e-06 is outside"),
        ("digits", {"learning_rate": 0.05}, "tracks.digits.training.learning_rate", "resnet from random weights"),
        (
            "digits",
            {"teacher_training.learning_rate": 0.5},
            "tracks.digits.teacher_training.learning_rate",
            "0.5 is outside",
        ),
        (
            "docstrings",
            {"optimizer": "adam", "weight_decay": 0.01},
            "tracks.docstrings.training.weight_decay",
            "couples",
        ),
        ("docstrings", {"temperature": 0.1}, "tracks.docstrings.method.temperature", "sharpens"),
    ],
)
def test_doubtful_value_is_a_warning(task: str, values: dict[str, Any], field: str, says: str) -> None:
    [found] = lints(values, task)
    assert (found.level, found.field) == ("warning", field)
    assert says in found.message


@pytest.mark.parametrize(
    ("task", "values", "field", "says"),
    [
        ("docstrings", {"signal": "attention"}, "tracks.docstrings.method.signal", "not cached for text"),
        ("digits", {"signal": "cls"}, "tracks.digits.method.signal", "reads tokens"),
        ("docstrings", {"views": 4}, "tracks.docstrings.views", "only images have more than one"),
        ("digits", {"views": 10}, "tracks.digits.views", "an image of 8 pixels a side has 9"),
        ("digits", {"signal": "cos"}, "tracks.digits.method.signal", "reads tokens"),
        ("digits", {"init_layers": "last"}, "tracks.digits.method.init_layers", "CNN student"),
        (
            "docstrings",
            {"init_layers": "last"},
            "tracks.docstrings.method.init_layers",
            "do not fit a student",
        ),
        ("docstrings", {"warmup": 0.5}, "tracks.docstrings.training.warmup", "50% of "),
        (
            "docstrings",
            {"teacher_training.warmup": 0.3},
            "tracks.docstrings.teacher_training.warmup",
            "30% of ",
        ),
        ("docstrings", {"layers": 4}, "tracks.docstrings.method.layers", "the teacher has 3, the student 3"),
        (
            "docstrings",
            {"teacher_training.epochs": 0},
            "tracks.docstrings.teacher_training.epochs",
            "a teacher with random weights must be trained",
        ),
        (
            "docstrings",
            {
                "teacher_training.epochs": 0,
                "teacher.checkpoint": "somewhere",
                "teacher_training.learning_rate": 1,
                "method.name": "tmkd",
                "teachers": 3,
            },
            "tracks.docstrings.teacher_training.epochs",
            "3 teachers that are not trained are all the same",
        ),
        ("digits", {"layer_map": "critical"}, "tracks.digits.method.layer_map", "by leaving one out"),
        (
            "digits",
            {"method.name": "lr_ds_selective", "layer_map": "critical"},
            "tracks.digits.method.layer_map",
            "by leaving one out",
        ),
        (
            "docstrings",
            {"method.name": "tinybert", "layer_map": "critical"},
            "tracks.docstrings.method.layer_map",
            "tinybert does not pair layers by their score",
        ),
        ("docstrings", {"signal": "relation", "batch_size": 2}, "tracks.docstrings.method.signal", "may have 2"),
        (
            "digits",
            {"signal": "relation", "train_rows": 50, "transfer_rows": 975},
            "tracks.digits.method.signal",
            "relations are between 3 rows or more, and a batch may have 1",
        ),
        (
            "docstrings",
            {"init_layers": "last", "student.architecture": "roberta", "student.width": 96},
            "tracks.docstrings.method.init_layers",
            "a roberta student does not start from the layers of a bert",
        ),
        (
            "docstrings",
            {"init_layers": "last", "student.architecture": "electra", "student.width": 96},
            "tracks.docstrings.method.init_layers",
            "an electra student does not start from the layers of a bert",
        ),
    ],
)
def test_impossible_value_is_a_refusal(task: str, values: dict[str, Any], field: str, says: str) -> None:
    [found] = lints(SELECTIVE | values, task)
    assert (found.level, found.field) == ("refusal", field)
    assert says in found.message and found.hint


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ("docstrings", {"seeds": [0, 1, 2, 3, 4, 5]}),
        ("docstrings", {"warmup": 0.2}),
        ("docstrings", {"optimizer": "adam", "weight_decay": 0}),
        ("docstrings", {"temperature": 0.5}),
        ("digits", {"optimizer": "sgd", "learning_rate": 0.1}),
        ("digits", SELECTIVE | {"signal": "attention"}),
        ("docstrings", SELECTIVE | {"signal": "cls"}),
        ("docstrings", SELECTIVE | {"layers": 9, "layer_map": "last1"}),
        ("docstrings", SELECTIVE | {"init_layers": "last", "student.width": 64, "teacher.width": 64}),
        ("docstrings", {"teacher_training.epochs": 0, "teacher.checkpoint": "somewhere"}),
        ("docstrings", {"method.name": "wml", "peer_sizes": "searched"}),
        ("docstrings", SELECTIVE | {"layer_map": "critical"}),
        ("docstrings", {"method.name": "lr_ds_selective", "layer_map": "critical"}),
        ("digits", SELECTIVE | {"signal": "relation"}),
        ("docstrings", SELECTIVE | {"signal": "crd", "contrast_width": 16}),
        ("docstrings", {"layers": 9}),  # no layer is matched by plain distillation
    ],
)
def test_usable_value_is_left_alone(task: str, values: dict[str, Any]) -> None:
    assert lints(values, task) == []


ALIKE = SELECTIVE | {"student.width": 64, "teacher.width": 64, "teacher.layers": 6}


@pytest.mark.parametrize(
    ("blocks", "says"),
    [
        ([1, 3, 5], ""),
        ("1,3,5", ""),
        ([6, 6, 1], ""),
        ([1, 3], "2 teacher blocks are named, and the student has 3"),
        ([1, 3, 7], "block 7 is named, and the teacher has 6"),
    ],
)
def test_a_student_starts_from_one_named_block_of_its_teacher_for_each_of_its_own(blocks: Any, says: str) -> None:
    found = [each for each in lints(ALIKE | {"init_layers": blocks}) if each.level == "refusal"]
    assert [each.field for each in found] == ["tracks.docstrings.method.init_layers"] * bool(says)
    assert all(each.message == says for each in found)


def test_a_student_deeper_than_its_teacher_has_no_last_blocks_to_start_from() -> None:
    [found] = lints(ALIKE | {"init_layers": "last", "teacher.layers": 2, "layer_map": "last1"})
    assert found.message == "a teacher of 2 blocks has none for each of the student's 3"


def test_learning_rate_of_the_reference_experiment_is_too_high_for_a_pretrained_bert() -> None:
    found = {each.field: each for each in lints({"seeds": [0, 1, 2, 3, 4, 5]}, "ag_news", scale="paper")}
    rate = found["tracks.ag_news.training.learning_rate"]
    assert rate.level == "warning"
    assert rate.message.startswith("0.001 is outside 1e-05..5e-05, where a pretrained distilbert with adam")
    assert found["tracks.ag_news.training.epochs"].message.startswith("20 epochs for a pretrained distilbert")


@pytest.mark.parametrize(("parameters", "found"), [(100, 1), (10, 1), (99, 0), (11, 0)])
def test_assistant_that_is_not_between_teacher_and_student_is_refused(parameters: int, found: int) -> None:
    models = MODELS | {"assistant": {"parameters": parameters, "layers": 3}}
    said = lints({"method.name": "assistant"}, models=models)
    assert [(each.level, each.field) for each in said] == [("refusal", "tracks.docstrings.assistant")] * found
    assert all(f"the assistant has {parameters} parameters, its teacher 100, the student 10" in s.message for s in said)


def test_assistant_without_a_checkpoint_beside_a_teacher_with_one_is_warned_about() -> None:
    models = MODELS | {"assistant": {"parameters": 50, "layers": 9}}
    said = {each.field: each for each in lints({"method.name": "assistant"}, "ag_news", "paper", models)}
    found = said["tracks.ag_news.assistant.checkpoint"]
    assert found.level == "warning" and "starts from random weights" in found.message
    rate = said["tracks.ag_news.teacher_training.learning_rate"]
    assert rate.message.startswith("2e-05 is outside 0.0001..0.005, where a bert from random weights")


def test_sizes_of_an_assistant_that_the_method_has_not_are_read_by_nothing() -> None:
    [found] = lints({"assistant.width": 64})
    assert (found.level, found.field) == ("warning", "tracks.docstrings.assistant.width")
    assert found.message == "kd has no assistant, so it will not be read"


def test_searched_sizes_are_refused_for_a_cnn() -> None:
    [found] = lints({"method.name": "wml", "peer_sizes": "searched"}, "digits")
    assert (found.level, found.field) == ("refusal", "tracks.digits.method.peer_sizes")
    assert "the student is a resnet" in found.message and found.hint == "use --set digits.peer_sizes=same"


def test_setting_that_the_signal_does_not_read_is_a_warning() -> None:
    [found] = lints(SELECTIVE | {"signal": "crd", "norm": "none"})
    assert (found.level, found.message) == ("warning", "signal crd does not read it")


@pytest.mark.parametrize("method", ["kd_selective", "attention"])
def test_attention_on_a_map_below_the_planned_size_is_refused(method: str) -> None:
    """SEL-7, before anything trains."""
    values = {"method.name": method} | ({"signal": "attention"} if method == "kd_selective" else {})
    for maps, planned, refused in (
        ([4, 2, 1], {}, True),
        ([4, 4, 2], {}, False),
        ([4, 4, 2], {"min_map_size": 3}, True),
    ):
        models = {who: facts | {"maps": maps} for who, facts in MODELS.items()}
        found = lints(values | planned, "digits", models=models)
        assert [each.field for each in found] == ["tracks.digits.method.min_map_size"] * refused
    assert not lints(SELECTIVE, "digits", models={who: facts | {"maps": [4, 2, 1]} for who, facts in MODELS.items()})


@pytest.mark.parametrize(
    ("layer_map", "refused"), [("skip", True), ("critical", True), ("last", False), ("last1", False)]
)
def test_student_deeper_than_its_teacher_is_matched_from_the_last_layer_alone(layer_map: str, refused: bool) -> None:
    models = {"teacher": {"parameters": 100, "layers": 3}, "student": {"parameters": 10, "layers": 5}}
    found = lints(SELECTIVE | {"layer_map": layer_map}, models=models)
    assert [each.field for each in found] == ["tracks.docstrings.method.layer_map"] * refused


@pytest.mark.parametrize(("method", "refused"), [("kd", False), ("dkd", False), ("kd_selective", True), ("rkd", True)])
def test_layers_of_models_that_cut_texts_otherwise_are_not_compared(method: str, refused: bool) -> None:
    wanted = Options(idea="efficient KD", tasks=("docstrings",), values={"method.name": method})
    plan = freeze(planner.draft(wanted), wanted, Proposal.model_validate(PROSE | {"method": method}), {})
    plan = plan.model_copy(update={"tracks": tuple(_real(plan, "docstrings"))})
    found = [each for each in lint(plan, {"docstrings": prepared(MODELS, apart=True)}) if each.level == "refusal"]
    assert [each.field for each in found] == ["tracks.docstrings.method.name"] * refused
    assert all("different tokens" in each.message and "--method kd" in each.hint for each in found)


@pytest.mark.parametrize("parameters", [100, 101])
def test_student_no_smaller_than_its_teacher_is_refused(parameters: int) -> None:
    models = {"teacher": MODELS["teacher"], "student": {"parameters": parameters, "layers": 3}}
    [found] = lints({}, models=models)
    assert (found.level, found.field) == ("refusal", "tracks.docstrings.student")
    assert f"the student has {parameters} parameters, its teacher 100" in found.message


def test_shallowest_model_bounds_the_layers() -> None:
    models = {"teacher": {"parameters": 100, "layers": 12}, "student": {"parameters": 10, "layers": 2}}
    [found] = lints(SELECTIVE | {"layers": 3}, models=models)
    assert (found.message, found.hint) == (
        "3 layers cannot be matched: the teacher has 12, the student 2",
        "at most 2 can be matched",
    )


def test_few_test_rows_are_named_with_what_one_answer_is_worth() -> None:
    wanted = Options(idea="efficient KD", tasks=("digits",), values={"method.name": "kd", "test_rows": 200})
    said = Proposal.model_validate(PROSE | {"method": "kd"})
    plan = freeze(planner.draft(wanted), wanted, said, {})
    [found] = lint(plan, {"digits": prepared(MODELS)})
    assert found == Lint("warning", "tracks.digits.task.test_rows", "200 test rows: one example is worth 0.5 points")


@pytest.mark.parametrize(
    ("task", "values", "field", "says", "hint"),
    [
        (
            "docstrings",
            {"method.name": "miniplm"},
            "method.name",
            "is for a corpus of unlabelled texts",
            "ag_news_text",
        ),
        ("digits", {"method.name": "miniplm"}, "method.name", "and digits has images", "lr_ds"),
        ("docstrings_text", {"method.name": "dkd"}, "method.name", "is for labelled texts and images", "miniplm or kd"),
        ("docstrings_text", {"method.name": "attention"}, "method.name", "is for images", "miniplm or kd"),
        ("docstrings_text", {"transfer_rows": 500}, "task.transfer_rows", "500 rows without labels", "=0"),
        (
            "docstrings_text",
            {"method.name": "miniplm", "ratio": 0.005},
            "method.ratio",
            "28 of 6,000 texts would be kept, fewer than one batch of 32",
            "keep more",
        ),
    ],
)
def test_corpora_and_their_methods_belong_together(
    task: str, values: dict[str, Any], field: str, says: str, hint: str
) -> None:
    [found] = [each for each in lints(values, task) if each.level == "refusal"]
    assert found.field == f"tracks.{task}.{field}" and says in found.message and hint in found.hint


def test_answers_that_no_disk_holds_are_refused_with_the_numbers() -> None:
    """Every token is a class, and every trial's answers are kept as one number per row and class."""

    def found(classes: int, **values: Any) -> list[Lint]:
        wanted = Options(idea="efficient KD", tasks=("docstrings_text",), values={"method.name": "miniplm"} | values)
        said = Proposal.model_validate(PROSE | {"method": "miniplm"})
        plan = freeze(planner.draft(wanted), wanted, said, {})
        [track] = plan.tracks
        task = track.task.model_copy(update={"kind": "language", "labels": tuple(map(str, range(classes)))})
        plan = plan.model_copy(update={"tracks": (track.model_copy(update={"task": task}),)})
        return lint(plan, {"docstrings_text": prepared(MODELS)})

    [refusal] = found(50257)
    assert (refusal.level, refusal.field) == ("refusal", "tracks.docstrings_text.task.test_rows")
    assert "2,000 rows of 50,257 tokens are 383 MB of logits, of 19 models 7,285 MB" in refusal.message
    assert "budget.disk_mb is 4,096" in refusal.message and "test_rows=1124" in refusal.hint
    assert not found(50257, test_rows=1124) and not found(512)
    assert [each.field for each in found(50257, test_rows=1125)] == ["tracks.docstrings_text.task.test_rows"]
    wide = found(200_000, **{"budget.disk_mb": 100_000, "dev_rows": 1500})
    assert [each.field.split("_")[-2] for each in wide] == ["text.task.dev", "text.task.test"]
    assert "1,024 MB is the limit for one model" in wide[0].message


BILSTM = {"student.architecture": "bilstm", "student.layers": 1, "student.width": 64}


@pytest.mark.parametrize("method", ["kd", "genset", "finetune", "tmkd"])
def test_a_bilstm_learns_from_logits_and_labels(method: str) -> None:
    assert lints({"method.name": method} | BILSTM) == []


@pytest.mark.parametrize(
    ("values", "field", "says"),
    [
        (BILSTM | SELECTIVE, "method.name", "kd_selective matches layers"),
        (BILSTM | {"method.name": "pkd"}, "method.name", "pkd matches layers"),
        (BILSTM | {"student.heads": 2}, "student.heads", "no attention heads"),
        (BILSTM | {"init_layers": "last"}, "method.init_layers", "cannot start from the layers"),
        ({"teacher.architecture": "bilstm"}, "teacher.architecture", "a bilstm is a student"),
        ({"method.name": "genset", "generated_rows": 0}, "task.generated_rows", "none are planned"),
        ({"method.name": "finetune", "generated_rows": 9}, "task.generated_rows", "learns only from labelled rows"),
    ],
)
def test_what_a_bilstm_or_generated_rows_do_not_go_with_is_refused(
    values: dict[str, Any], field: str, says: str
) -> None:
    found = [each for each in lints(values) if each.level == "refusal" and each.field == f"tracks.docstrings.{field}"]
    assert len(found) == 1 and says in found[0].message and "--" in found[0].hint


@pytest.mark.parametrize(
    ("task", "values", "says"),
    [
        ("docstrings", {"method.name": "finetune", "generated_rows": 9}, "learns only from labelled rows"),
        ("docstrings", {"method.name": "attention", "generated_rows": 9}, "attention is for images"),
        ("digits", {"method.name": "genset"}, "genset is for labelled texts"),
        ("docstrings", {"method.name": "genset", "teacher_training.epochs": 0}, "must be trained"),
        ("docstrings", {"teacher.architecture": "bilstm"}, "too weak to teach"),
        ("docstrings", {"learning_rate": 0.1}, ""),
    ],
)
def test_refusals_that_no_row_decides_about_are_known_before_there_are_rows(
    task: str, values: dict[str, Any], says: str
) -> None:
    wanted = Options(idea="efficient KD", tasks=(task,), values=values)
    plan = freeze(planner.draft(wanted), wanted, Proposal.model_validate(PROSE | {"method": "kd"}), {})
    found = foreseen(plan)
    assert {each.level for each in found} <= {"refusal"} and len(found) == bool(says)
    assert all(says in each.message for each in found)


def test_a_generator_without_rows_is_warned_about() -> None:
    [found] = lints({"generator.steps": 7})
    assert (found.level, found.field) == ("warning", "tracks.docstrings.generator")


def test_generated_rows_on_some_tracks_alone_are_refused() -> None:
    wanted = Options(idea="kd", tasks=("docstrings", "ag_news"), scale="small", values={"docstrings.generated_rows": 9})
    plan = freeze(planner.draft(wanted), wanted, Proposal.model_validate(PROSE | {"method": "kd"}), {})
    found = lint(plan, {name: prepared(MODELS) for name in ("docstrings", "ag_news")})
    assert [each.field for each in found if each.level == "refusal"] == ["tracks.ag_news.task.generated_rows"]
