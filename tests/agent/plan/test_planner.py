"""Where the values of a plan come from, and which of them wins."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent import config
from agent.errors import PlanError, UsageError
from agent.plan import planner
from agent.plan.cards import cards
from agent.plan.defaults import LONGEST_IDEA, check_idea, kind_of, tracks
from agent.plan.draft import put_recorded
from agent.plan.freeze import freeze
from agent.plan.method import STATED
from agent.plan.options import Options
from agent.plan.plan import Generator, Plan
from agent.plan.proposal import Proposal
from tests.agent.prepared import ROWS, prepared


def options(**more: Any) -> Options:
    return Options(idea="efficient KD", **{"tasks": ("digits",)} | more)


def proposal(**more: Any) -> Proposal:
    prose = dict.fromkeys(("title", "objective", "hypothesis", "methodology"), "some words")
    return Proposal.model_validate(prose | {"method": "kd"} | more)


def planned(wanted: Options, said: Proposal | None = None) -> Plan:
    draft = planner.draft(wanted)
    planner.merge(draft, said or proposal())
    return freeze(draft, wanted, said or proposal(), {})


@pytest.mark.parametrize("method", ["kd", "attention", "wml"])
def test_a_recorded_plan_gives_the_defaults_of_its_time(method: str) -> None:
    wanted = options(values={"method.name": method, "epochs": 2})
    plan = planned(wanted, proposal(method=method, temperature=6))
    track = plan.tracks[0]
    then = {name: value * 2 for name, value in track.method.settings.items() if type(value) is float and value < 0.5}
    arms = track.vanilla.model_copy(update={"temperature": 7.0})
    method_then = track.method.model_copy(update=then | {"temperature": 6.0})
    recorded = plan.model_copy(
        update={"tracks": (track.model_copy(update={"method": method_then, "reference": arms}),)}
    )
    draft = planner.draft(wanted)
    put_recorded(draft, recorded)
    planner.merge(draft, proposal(method=method, temperature=6))
    assert freeze(draft, wanted, proposal(method=method, temperature=6), {}).hash == recorded.hash


def test_user_wins_over_model_wins_over_default() -> None:
    said = proposal(epochs=7, temperature=6, learning_rate=0.01)
    plan = planned(options(values={"epochs": 2, "batch_size": 16}), said)
    track, origin = plan.track("digits"), plan.provenance.__getitem__
    assert (track.training.epochs, origin("tracks.digits.training.epochs")) == (2, "user")
    assert (track.training.batch_size, origin("tracks.digits.training.batch_size")) == (16, "user")
    assert (track.method.temperature, origin("tracks.digits.method.temperature")) == (6, "model")
    assert (track.training.learning_rate, origin("tracks.digits.training.learning_rate")) == (0.01, "model")
    assert (track.method.alpha, origin("tracks.digits.method.alpha")) == (0.9, "default")


def test_method_the_user_fixed_is_not_changed_by_the_model() -> None:
    plan = planned(options(values={"method.name": "kd_selective"}), proposal(method="kd"))
    assert plan.tracks[0].method.name == "kd_selective"
    assert plan.provenance["tracks.digits.method.name"] == "user"


def test_every_setting_has_an_origin() -> None:
    plan = planned(options(values={"seeds": [4, 7], "attempts": 3, "budget.seconds": 60}))
    for part in ("teacher", "teacher_training", "student", "training", "method"):
        held = getattr(plan.tracks[0], part)
        for name in held.model_dump() if part in ("teacher", "student") else held.settings:
            assert f"tracks.digits.{part}.{name}" in plan.provenance
    by_user = [path for path, origin in plan.provenance.items() if origin == "user"]
    assert by_user == ["seeds", "attempts", "budget.seconds"]
    assert (plan.seeds, plan.attempts, plan.budget.seconds) == ((4, 7), 3, 60)


@pytest.mark.parametrize(
    ("path", "value", "where"),
    [
        ("epochs", 2, "training.epochs"),
        ("training.epochs", 2, "training.epochs"),
        ("teacher_training.epochs", 2, "teacher_training.epochs"),
        ("temperature", 5, "method.temperature"),
        ("student.width", 4, "student.width"),
        ("train_rows", 60, "task.train_rows"),
        ("task.train_rows", 60, "task.train_rows"),
        ("input_size", 16, "task.input_size"),
        ("digits.alpha", 0.25, "method.alpha"),
    ],
)
def test_short_paths_reach_their_field(path: str, value: float, where: str) -> None:
    found: Any = planned(options(values={path: value})).track("digits")
    for name in where.split("."):
        found = getattr(found, name)
    assert found == value


def test_path_that_names_a_track_touches_that_track_only() -> None:
    plan = planned(options(tasks=("docstrings", "digits"), values={"digits.epochs": 2, "alpha": 0.25}))
    assert [track.training.epochs == 2 for track in plan.tracks] == [False, True]
    assert [track.method.alpha for track in plan.tracks] == [0.25, 0.25]


def test_values_reach_the_data_as_the_plan_reads_them() -> None:
    values = {"batch_size": 32.0, "train_rows": "60", "test_rows": 0, "epochs": "2"}
    settings = planner.draft(options(values=values)).values["tracks"]["digits"]
    assert repr(settings["training"]["batch_size"]) == "32"
    assert (settings["sizes"]["train_rows"], settings["sizes"]["test_rows"]) == (60, 0)
    assert settings["training"]["epochs"] == 2.0


def test_rows_of_a_frozen_plan_are_those_that_are_there() -> None:
    wanted = options(tasks=("docstrings",))
    task = {"kind": "text", "labels": ["a", "b"]}
    rows = {"train": 11, "transfer": 0, "dev": 12, "test": 13}
    known = prepared(task=task, rows=rows, source="a folder", revision="r", hash="h", encoded="e")
    plan = freeze(planner.draft(wanted), wanted, proposal(), {"docstrings": known})
    found = plan.tracks[0].task
    assert (found.train_rows, found.transfer_rows, found.dev_rows, found.test_rows) == (11, 0, 12, 13)
    assert (found.source, found.revision, found.hash, found.labels) == ("a folder", "r", "h", ("a", "b"))
    assert plan.reference_arms == ("student_only", "vanilla_kd")


def test_paper_scale_is_the_owner_s_experiment() -> None:
    plan = planned(options(tasks=(), scale="paper"), proposal(method="kd_selective"))
    assert [track.name for track in plan.tracks] == ["ag_news", "cifar10"]
    for track in plan.tracks:
        training, method = track.training, track.method
        assert (training.learning_rate, training.batch_size, training.epochs) == (0.001, 32, 20)
        assert training.optimizer == "adam"
        assert (method.temperature, method.alpha, method.layers, method.layer_map) == (3, 0.5, 3, "last")
    text, image = plan.tracks
    assert (text.teacher.checkpoint, text.teacher.layers) == ("google-bert/bert-base-uncased", 12)
    assert (text.student.checkpoint, text.student.layers) == ("distilbert/distilbert-base-uncased", 6)
    assert (image.teacher.architecture, image.teacher.blocks) == ("resnet", (3, 4, 6, 3))
    assert image.student.architecture == "mobilenetv2"


@pytest.mark.parametrize("scale", list(config.cards(config.SCALES)))
@pytest.mark.parametrize("method", list(config.cards(config.METHODS)))
def test_every_scale_and_method_make_a_plan(scale: Any, method: str) -> None:
    plan = planned(options(tasks=(), scale=scale), proposal(method=method))
    assert plan.benchmark == ("vanilla_kd" if cards()[method].teacher and method != "kd" else "student_only")
    assert plan.hash == Plan.model_validate_json(plan.canonical()).hash


def test_label_noise_is_in_the_plan_where_the_user_asks_for_it_and_nowhere_else() -> None:
    noisy, clean = planned(options(values={"label_noise": 0.2, "train_rows": 80})), planned(options())
    assert noisy.tracks[0].task.label_noise == 0.2
    assert noisy.provenance["tracks.digits.label_noise"] == "user"
    assert "label_noise" not in clean.canonical()
    assert not any("label_noise" in path for path in clean.provenance)
    with pytest.raises(PlanError, match=r"label_noise = 1.0: input should be less than 1"):
        planned(options(values={"label_noise": 1.0}))


@pytest.mark.parametrize(
    ("bf16", "values", "precisions"),
    [
        (True, {"teacher.width": 256}, ("bf16", "fp32")),
        (True, {"student.width": 384, "student.heads": 6}, ("fp32", "bf16")),
        (False, {"teacher.width": 256}, ("fp32", "fp32")),
        (True, {"teacher.width": 256, "precision": "fp32"}, ("bf16", "fp32")),
        (True, {"teacher.width": 256, "teacher_training.precision": "fp32"}, ("fp32", "fp32")),
        (True, {"student.architecture": "bilstm", "student.width": 256}, ("fp32", "fp32")),
        (True, {}, ("fp32", "fp32")),
    ],
)
def test_wide_models_train_in_bf16_where_the_machine_has_it(
    bf16: bool, values: dict[str, Any], precisions: tuple[str, str]
) -> None:
    plan = planned(options(tasks=("docstrings",), bf16=bf16, values=values))
    track = plan.tracks[0]
    assert (track.teacher_training.precision, track.training.precision) == precisions


@pytest.mark.parametrize(
    ("values", "precisions"),
    [
        ({}, ("fp32", "fp32")),
        ({"teacher.width": 64}, ("bf16", "fp32")),
        ({"student.width": 64}, ("fp32", "bf16")),
        ({"student.width": 48}, ("fp32", "fp32")),
        ({"student.architecture": "mobilenetv2", "student.width": 1.0}, ("fp32", "fp32")),
    ],
)
def test_of_cnns_wide_resnets_train_in_bf16(values: dict[str, Any], precisions: tuple[str, str]) -> None:
    track = planned(options(tasks=("digits",), bf16=True, values=values)).tracks[0]
    assert (track.teacher_training.precision, track.training.precision) == precisions


def test_a_run_keeps_what_its_machine_could_do_for_a_replay_on_another() -> None:
    wanted = options(tasks=("docstrings",), bf16=True, values={"student.width": 256})
    kept = Options.from_json(json.loads(json.dumps(wanted.to_json())))
    assert planned(kept).hash == planned(wanted).hash != planned(replace(wanted, bf16=False)).hash
    older = {name: value for name, value in wanted.to_json().items() if name != "bf16"}
    assert planned(Options.from_json(older)).tracks[0].training.precision == "fp32"  # as runs were before


def test_views_are_in_the_plan_where_the_user_asks_for_them_and_mirrored_where_that_says_the_same() -> None:
    digits, plain = planned(options(values={"views": 8})), planned(options())
    assert (digits.tracks[0].task.views, digits.tracks[0].task.mirror) == (8, False)  # a mirrored 2 is no 2
    assert digits.provenance["tracks.digits.views"] == "user" and '"views":8' in digits.canonical().replace(" ", "")
    assert "views" not in plain.canonical() and not any("views" in path for path in plain.provenance)
    assert Plan.model_validate_json(digits.canonical()) == digits
    photographs = planned(options(tasks=("cifar10",), values={"views": 8}))
    assert photographs.tracks[0].task.mirror
    assert not planned(options(tasks=("cifar10",))).tracks[0].task.mirror


@pytest.mark.parametrize(
    ("task", "values", "said"),
    [
        ("digits", {"views": 0}, "greater than or equal to 1"),
        ("digits", {"views": "many"}, "valid integer"),
        ("digits", {"mirror": True}, "first view is never mirrored"),
    ],
)
def test_views_that_cannot_be_are_refused(task: str, values: dict[str, Any], said: str) -> None:
    with pytest.raises(PlanError, match=said):
        planner.draft(options(tasks=(task,), values=values))


@pytest.mark.parametrize(
    ("said", "found"), [("1,3, 5", (1, 3, 5)), ([1, 3, 5], (1, 3, 5)), (2, (2,)), ("alternate", "alternate")]
)
def test_blocks_to_start_from_are_a_word_or_a_list(said: Any, found: Any) -> None:
    values = {"method.name": "kd_selective", "method.init_layers": said}
    plan = planned(options(tasks=("docstrings",), values=values), proposal(method="kd_selective"))
    assert plan.tracks[0].method.init_layers == found
    assert Plan.model_validate_json(plan.model_dump_json(by_alias=True)).hash == plan.hash


@pytest.mark.parametrize("said", ["middle", "1,,3", [0, 1, 2], [], "0,1,2", True, 1.5])
def test_what_are_no_blocks_is_refused(said: Any) -> None:
    with pytest.raises(PlanError, match=r"init_layers.* = "):
        planner.draft(options(values={"method.init_layers": said}))


def test_hash_changes_with_every_value() -> None:
    changes: list[dict[str, Any]] = [{}, {"epochs": 2}, {"alpha": 0.25}, {"seeds": [1]}, {"least_effect": 0.01}]
    changes.append({"budget.checkpoints": 1})
    assert len({planned(options(values=values)).hash for values in changes}) == len(changes)


def test_plan_from_before_there_were_checkpoints_keeps_its_hash() -> None:
    """As SHA-256 of its canonical JSON was then, without the field."""
    plan = planned(options())
    older = plan.model_dump(mode="json", by_alias=True)
    del older["budget"]["checkpoints"]
    del older["tracks"][0]["reference"], older["tracks"][0]["assistant"], older["tracks"][0]["generator"]
    for late in ("label_noise", "generated_rows", "views", "mirror"):
        del older["tracks"][0]["task"][late]
    del older["tracks"][0]["training"]["compiled"], older["tracks"][0]["teacher_training"]["compiled"]
    older["tracks"][0]["method"] = {name: older["tracks"][0]["method"][name] for name in STATED}
    canonical = json.dumps(older, sort_keys=True, ensure_ascii=False)
    assert Plan.model_validate(older).hash == plan.hash == hashlib.sha256(canonical.encode()).hexdigest()


# ── an assistant ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "values", "sizes"),
    [
        ("docstrings", {}, ("bert", 3, 72)),
        ("docstrings", {"teacher.layers": 6, "teacher.width": 90, "teacher.heads": 6}, ("bert", 5, 72)),
        ("docstrings", {"assistant.layers": 2, "assistant.width": 80}, ("bert", 2, 80)),
        ("digits", {}, ("resnet", 3, 12)),
        ("cifar10", {}, ("resnet", 3, 32)),  # a multiplier is no number of channels
    ],
)
def test_assistant_is_built_like_the_teacher_and_halfway_unless_somebody_says_otherwise(
    task: str, values: dict[str, Any], sizes: tuple[str, int, float]
) -> None:
    scale = "small" if task == "cifar10" else "demo"
    wanted = options(tasks=(task,), scale=scale, values=values)
    plan = planned(wanted, proposal(method="assistant"))
    found = plan.track(task).assistant
    assert found and (found.architecture, found.layers, found.width) == sizes
    assert found.stem == plan.track(task).teacher.stem and not found.checkpoint
    said = {path for path, origin in plan.provenance.items() if ".assistant." in path and origin == "user"}
    assert said == {f"tracks.{task}.{path}" for path in values if path.startswith("assistant")}


def test_only_a_plan_with_an_assistant_speaks_of_one() -> None:
    without, with_one = planned(options()), planned(options(), proposal(method="assistant"))
    assert "assistant" not in without.canonical() and '"assistant": {' in with_one.canonical()
    assert with_one.track("digits").vanilla == with_one.track("digits").method  # so both links weigh alike
    assert with_one.benchmark == "vanilla_kd"


def test_assistant_is_trained_as_its_teacher_or_where_that_comes_trained_as_the_student() -> None:
    for epochs, part in ((3, "teacher_training"), (0, "training")):
        values = {"teacher_training.epochs": epochs, "method.name": "assistant"}
        track = planned(options(values=values), proposal(method="assistant")).track("digits")
        assert track.assistant_training == getattr(track, part) and track.assistant_steps > 0


@pytest.mark.parametrize(
    ("values", "field"),
    [({"assistant.width": -3}, "digits.assistant.width"), ({"teacher.width": "wide"}, "digits.teacher.width")],
)
def test_size_that_is_none_is_refused_where_it_stands(values: dict[str, Any], field: str) -> None:
    with pytest.raises(PlanError, match=rf"^{field} = "):
        planner.draft(options(values={"method.name": "assistant"} | values))


# ── the user's own data ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "track"),
    [("My News.v2.csv", "my_news_v2"), ("été.csv", "été"), ("[x]-*.csv", "x"), ("…", "own"), ("a" * 99, "a" * 40)],
)
def test_track_of_own_data_has_a_name_that_is_safe_in_paths(name: str, track: str) -> None:
    assert tracks(options(tasks=(), data=f"/data/{name}")) == [track]


def test_own_data_are_used_whole_with_the_settings_of_their_kind(tmp_path: Path) -> None:
    (tmp_path / "cats").mkdir()
    (tmp_path / "cats" / "a.png").touch()
    (tmp_path / "news.csv").write_text("text,label\n")
    settings = planner.draft(options(tasks=(), data=str(tmp_path / "news.csv"))).values["tracks"]["news"]
    assert settings["student"]["architecture"] == "distilbert"
    assert (settings["sizes"]["train_rows"], settings["sizes"]["test_rows"]) == (0, 0)
    assert kind_of(tmp_path / "cats") == "image"


def test_kind_of_a_parquet_file_is_in_its_columns(tmp_path: Path) -> None:
    from pyarrow import table
    from pyarrow.parquet import write_table

    for name, columns in (("t.parquet", {"text": ["a"], "label": [0]}), ("i.parquet", {"image": [b"a"], "label": [0]})):
        write_table(table(columns), tmp_path / name)
    assert [kind_of(tmp_path / name) for name in ("t.parquet", "i.parquet")] == ["text", "image"]


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_idea_comes_on_one_line_in_any_script() -> None:
    assert check_idea("  distil\n\tBERT ") == "distil BERT"
    for idea in ("蒸馏一个小模型", "می‌خواهم", "KD 👩‍🔬", "β = ½ · naïve"):
        assert check_idea(idea) == idea


@pytest.mark.parametrize("sign", ["\x00", "\x07", "\x1b", "\x7f", "\x9b", "\ud800"])
def test_idea_with_a_sign_that_is_no_text_is_refused(sign: str) -> None:
    with pytest.raises(UsageError, match="at character 4"):
        check_idea(f"KD {sign}")


def test_longest_idea_is_the_last_that_passes() -> None:
    assert check_idea("x" * LONGEST_IDEA)
    with pytest.raises(UsageError, match="4,001 characters"):
        check_idea("x" * (LONGEST_IDEA + 1))


def test_field_that_is_nearly_right_is_suggested() -> None:
    with pytest.raises(PlanError, match=r"no field 'digits\.temprature'") as error:
        planner.draft(options(values={"temprature": 4}))
    assert error.value.hint == "did you mean temperature?"


def test_long_values_are_cut_in_the_message() -> None:
    with pytest.raises(PlanError) as error:
        planner.draft(options(values={"epochs": "x" * 10_000}))
    assert len(error.value.message) < 250


def texts_planned(method: str, **values: Any) -> Plan:
    return planned(options(tasks=("docstrings",), values=values), proposal(method=method))


def test_a_method_about_generated_rows_brings_them_and_its_benchmark_has_none() -> None:
    plan = texts_planned("genset")
    track = plan.tracks[0]
    assert track.task.generated_rows == 2000 and track.generator and track.generator.samples == 4000
    assert plan.reference_arms == ("student_only", "vanilla_kd", "generated_kd", "pseudo_label", "all_labels")
    assert plan.benchmark == "vanilla_kd" and plan.on_generated == ("generated_kd", "pseudo_label")
    assert plan.provenance["tracks.docstrings.generator.top_k"] == "default"
    assert (track.labelled_rows, track.pool_rows) == (7000, 9000)
    assert track.teacher_steps == texts_planned("kd").tracks[0].teacher_steps


@pytest.mark.parametrize(
    ("method", "benchmark", "generated_kd"),
    [("kd", "vanilla_kd", False), ("tmkd", "generated_kd", True), ("kd_selective", "generated_kd", True)],
)
def test_another_method_on_generated_rows_is_held_against_vanilla_distillation_on_them(
    method: str, benchmark: str, generated_kd: bool
) -> None:
    plan = texts_planned(method, generated_rows=500, **{"generator.top_k": 7, "transfer_rows": 0})
    assert (plan.benchmark, "generated_kd" in plan.reference_arms) == (benchmark, generated_kd)
    assert "pseudo_label" in plan.reference_arms and "all_labels" not in plan.reference_arms
    assert plan.tracks[0].generator and plan.tracks[0].generator.top_k == 7
    assert plan.provenance["tracks.docstrings.task.generated_rows"] == "user"


def test_a_plan_without_generated_rows_does_not_speak_of_them() -> None:
    plan = texts_planned("kd")
    assert "generat" not in plan.canonical() and plan.on_generated == ()


def test_a_generator_from_a_checkpoint_has_its_sizes_and_a_rate_that_leaves_it_what_it_knows() -> None:
    wanted = options(tasks=("docstrings",), values={"generator.checkpoint": "openai-community/gpt2"})
    made, said = planner.draft(wanted), proposal(method="genset")
    planner.merge(made, said)
    plan = freeze(made, wanted, said, {})
    assert plan.tracks[0].generator == Generator(
        checkpoint="openai-community/gpt2", layers=0, width=0, learning_rate=5e-5
    )
    own = planner.draft(
        options(tasks=("docstrings",), values={"generator.checkpoint": "here", "generator.learning_rate": 0.001})
    )
    assert own.values["tracks"]["docstrings"]["generator"]["learning_rate"] == 0.001
    known = prepared(rows=ROWS | {"generated": 9}, generated={"kept": 9, "layers": 12, "width": 768})
    found = freeze(made, wanted, said, {"docstrings": known}).tracks[0].generator
    assert found and (found.layers, found.width) == (12, 768)
    with pytest.raises(PlanError, match=r"generator = .*are those of a checkpoint"):
        planner.draft(options(tasks=("docstrings",), values={"generator.width": 0}))


def test_plan_from_before_generators_had_checkpoints_keeps_its_hash() -> None:
    plan = texts_planned("genset")
    older = json.loads(plan.canonical())
    assert {*older["tracks"][0]["generator"]} == {
        *("samples", "steps", "layers", "width", "top_k", "top_p", "temperature")
    }
    assert not any(name in path for path in plan.provenance for name in ("generator.checkpoint", "generator.learning"))
    assert Plan.model_validate(older).hash == plan.hash
    assert texts_planned("genset", **{"generator.learning_rate": 0.001}).hash != plan.hash


def test_fewer_samples_than_generated_rows_are_refused_before_any_work() -> None:
    with pytest.raises(PlanError, match="5,000 generated rows cannot come from 4,000 samples"):
        planner.draft(options(values={"generated_rows": 5000}))


def test_a_bilstm_takes_no_heads_from_the_scale() -> None:
    values = {"student.architecture": "bilstm", "student.layers": 1, "student.width": 64}
    assert texts_planned("kd", **values).tracks[0].student.heads == 0
    assert texts_planned("kd", **values, **{"student.heads": 2}).tracks[0].student.heads == 2


@pytest.mark.parametrize(("signal", "beta"), [("hidden", 1.0), ("relation", 25.0), ("crd", 0.02)])
def test_signal_brings_its_usual_weight_unless_somebody_said_another(signal: str, beta: float) -> None:
    wanted = options(values={"method.name": "kd_selective"})
    assert planned(wanted, proposal(method="kd_selective", signal=signal)).tracks[0].method.beta == beta
    said = proposal(method="kd_selective", signal=signal, beta=7)
    assert planned(wanted, said).tracks[0].method.beta == 7
    fixed = options(values={"method.name": "kd_selective", "beta": 3, "signal": signal})
    assert planned(fixed).tracks[0].method.beta == 3


@pytest.mark.parametrize(
    ("choice", "left"),
    [({"layer_map": "critical"}, "docstrings"), ({"signal": "cos"}, "docstrings"), ({"signal": "attention"}, "digits")],
)
def test_tracks_that_the_chosen_layers_or_signal_are_not_for_are_left_out(choice: dict[str, str], left: str) -> None:
    wanted = options(tasks=())
    draft = planner.draft(wanted)
    planner.merge(draft, proposal(method="kd_selective", **choice))
    [said] = planner.leave_out(draft, wanted)
    assert [*draft.values["tracks"]] == [left] and "kd_selective as planned is not for" in said
