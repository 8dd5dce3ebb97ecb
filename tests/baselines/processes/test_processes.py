"""prepare, teacher, trial and predict: what each leaves on disk, what it may see, and how it fails.

The two tracks run as four real child processes. Whatever departs from these runs does the same work in this process;
that both give the same bits is a test of its own.
"""

import io
import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Trainer

from agent.plan import Method
from agent.probe import measure
from baselines.data.collator import Collator
from baselines.data.rows import NO_LABEL, read_rows
from baselines.errors import BaselineError
from baselines.models import by_length
from baselines.models.build import build, from_config
from baselines.models.fingerprint import fingerprint, parameters
from baselines.models.inputs import accepted
from baselines.models.layers import taps
from baselines.processes import trial
from baselines.training.cached_teacher import Teacher, load
from baselines.training.experiment import Experiment, Settings
from tests.baselines.lab import (
    ARMS,
    METHOD,
    ONLY,
    SIZES,
    STEPS,
    TEMPLATES,
    TRAINING,
    TRAINS,
    Lab,
    here,
    process,
    report,
    sha256,
    trace,
)

SOFT = {"task", "distillation"}
PAIR = "teacher_layer_of_"
TERMS = {
    **{arm: {"task"} for arm in ("student_only", "pseudo_label")},
    "teacher_free": {"task", "regularisation"},
    **{arm: SOFT for arm in ("kd", "dkd", "dist", "standardised", "genset")},
    **{
        arm: SOFT | {"feature"}
        for arm in ("kd_selective", "rkd", "crd", "hints", "pkd", "tinybert", "minilm", "attention")
    },
}
pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def labs(tmp_path_factory) -> dict[str, Lab]:
    """Both tracks after all four processes: every method trained at seed 1, and its answers to the test rows."""
    labs = {kind: Lab(tmp_path_factory.mktemp(kind), kind) for kind in ("text", "image")}
    jobs = {
        "prepare": [lab.prepare_job() for lab in labs.values()],
        "teacher": [lab.teacher_job() for lab in labs.values()],
        "trial": [lab.trial_job(*map(lab.unit, ARMS + ONLY[kind])) for kind, lab in labs.items()],
        "predict": [lab.predict_job(*map(lab.answer, ARMS + ONLY[kind])) for kind, lab in labs.items()],
    }
    for module, both in jobs.items():
        done = process(module, *both)
        assert done.returncode == 0, done.stderr[-3000:]
    return labs


@pytest.fixture(params=["text", "image"])
def lab(request, labs) -> Lab:
    return labs[request.param]


@pytest.fixture
def text(labs) -> Lab:
    return labs["text"]


@pytest.fixture
def train(tmp_path):
    """Trains units in this process; the folder of their results."""

    def run(lab: Lab, *units: dict, **changes) -> Path:
        here("trial", lab.trial_job(*units, out=str(tmp_path / "trials"), **changes))
        return tmp_path / "trials"

    return run


def facts(lab: Lab) -> dict:
    return json.loads((lab.data / "facts.json").read_text())


def teacher_facts(lab: Lab) -> dict:
    return json.loads((lab.teacher / "teacher.json").read_text())


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "weights.safetensors")


def experiment(lab: Lab, folder: Path, **changes) -> Experiment:
    return Experiment(lab.trial_job(), lab.unit("kd", **changes), seed=1, out=folder, trace=io.StringIO())


# ── prepare ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_trial_sees_no_dev_row_no_test_row_and_no_hidden_label(lab, tmp_path):
    tokenizer = {"tokenizer.json"} if lab.kind == "text" else set()
    splits = {"train.safetensors", "transfer.safetensors"}
    assert {path.name for path in (lab.data / "seen").iterdir()} == {"task.json"} | tokenizer | splits
    assert "labels" not in load_file(lab.data / "seen/transfer.safetensors")
    seen = experiment(lab, tmp_path)
    rows = seen.train_dataset + seen.transfer_dataset
    assert len(rows) == len(seen.teacher.logits) == 32 + 64
    for split, count in (("dev", 18), ("test", 24)):
        held = read_rows(lab.data / f"held/{split}.safetensors", lab.kind)
        assert len(held) == count and set(held.labels.tolist()) == {NO_LABEL}
        assert not {item.tobytes() for item in rows.items} & {item.tobytes() for item in held.items}


def test_facts_say_what_was_prepared(lab):
    found = facts(lab)
    assert found["rows"] == {name.removesuffix("_rows"): count for name, count in SIZES.items()}
    assert {name: sum(counts) for name, counts in found["label_counts"].items()} == found["rows"]
    assert found["source"].startswith("folder: 2 csv " if lab.kind == "text" else "embedded: scikit-learn digits")
    assert [model["layers"] for model in found["models"].values()] == [3, 3]
    built = build(found["models"]["student"]["spec"], found["task"], seed=0)
    assert found["models"]["student"]["parameters"] == parameters(built)


def test_preparing_again_gives_the_same_rows_and_token_ids(lab, tmp_path):
    here("prepare", lab.prepare_job(out=str(tmp_path)))
    assert json.loads((tmp_path / "facts.json").read_text()) == facts(lab)
    splits = ("seen/train", "seen/transfer", "held/dev", "held/test", "labels/transfer", "labels/dev", "labels/test")
    for name in splits:
        assert sha256(tmp_path / f"{name}.safetensors") == sha256(lab.data / f"{name}.safetensors")


def test_images_are_scaled_to_the_planned_size(labs, tmp_path):
    here("prepare", labs["image"].prepare_job(out=str(tmp_path), input_size=5))
    assert load_file(tmp_path / "seen/train.safetensors")["pixels"].shape == (32, 5, 5, 1)


# ── teacher ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cached_logits_are_the_teachers_own_answers_row_by_row(lab, tmp_path):
    cached = load_file(lab.teacher / "logits.safetensors")["logits"]
    unit = lab.answer("teacher", model=lab.models["teacher"], weights=str(lab.teacher / "weights.safetensors"), seed=0)
    start = 0
    for split in ("train", "transfer"):
        inputs = str(lab.data / f"seen/{split}.safetensors")
        here("predict", lab.predict_job(unit, inputs=inputs, out=str(tmp_path / split)))
        own = load_file(tmp_path / split / "teacher/logits.safetensors")["logits"]
        torch.testing.assert_close(cached[start : start + len(own)], own, rtol=1e-4, atol=1e-5)
        start += len(own)
    assert start == len(cached)


def test_cached_answers_and_states_are_those_of_a_forward_without_inference_mode_bit_by_bit(lab):
    task = json.loads((lab.data / "seen/task.json").read_text())
    train, transfer = (read_rows(lab.data / f"seen/{name}.safetensors", lab.kind) for name in ("train", "transfer"))
    rows = train + transfer
    lengths = [len(item) if lab.kind == "text" else 0 for item in rows.items]
    order = sorted(range(len(rows)), key=lengths.__getitem__)
    model = load(lab.teacher, task)
    torch.set_num_threads(1)
    with torch.no_grad():
        output = model(**accepted(model, Collator(task)([rows[n] for n in order])), output_hidden_states=True)
    assert torch.equal(load_file(lab.teacher / "logits.safetensors")["logits"][order], output.logits)
    kept = load_file(lab.teacher / "features-2.safetensors")
    states = output.hidden_states[taps(model)[1]]
    for place, n in enumerate(order):
        start = kept["offsets"][n] if lab.kind == "text" else n
        own = kept["values"][start : start + lengths[n]] if lab.kind == "text" else kept["values"][n]
        assert torch.equal(own, states[place][: lengths[n]] if lab.kind == "text" else states[place])


def test_teacher_that_is_there_is_not_trained_again_and_lost_outputs_come_back(lab, tmp_path):
    shutil.copytree(lab.teacher, tmp_path / "teacher")
    before = {path.name: sha256(path) for path in lab.teacher.glob("*.*")}
    for name in ("logits", "features-2"):
        (tmp_path / "teacher" / f"{name}.safetensors").unlink()
    here("teacher", lab.teacher_job(out=str(tmp_path / "teacher"), file="/nowhere/train.py"))
    assert {path.name: sha256(path) for path in (tmp_path / "teacher").glob("*.*")} == before


@pytest.mark.parametrize(
    ("changes", "layers"),
    [
        ({"method": METHOD | {"layers": 1}}, {"features-3"}),
        ({"method": METHOD | {"name": "kd"}}, set()),
        ({"feature_cache": 1000}, set()),
    ],
)
def test_only_the_features_that_will_be_asked_for_are_cached(text, tmp_path, changes, layers):
    for name in ("teacher.json", "config.json", "weights.safetensors"):
        shutil.copyfile(text.teacher / name, tmp_path / name)
    here("teacher", text.teacher_job(out=str(tmp_path), **changes))
    assert {path.stem for path in tmp_path.glob("features-*")} == layers
    assert sha256(tmp_path / "logits.safetensors") == sha256(text.teacher / "logits.safetensors")


def test_layers_that_cost_the_teacher_most_are_measured_on_dev_rows_cached_matched_and_probed(text, train, tmp_path):
    for name in ("teacher.json", "config.json", "weights.safetensors"):
        shutil.copyfile(text.teacher / name, tmp_path / name)
    method = METHOD | {"layer_map": "critical", "layers": 2}
    dev = {"inputs": str(text.data / "held/dev.safetensors"), "labels": str(text.data / "labels/dev.safetensors")}
    here("teacher", text.teacher_job(out=str(tmp_path), method=method, dev=dev))
    said = json.loads((tmp_path / "critical.json").read_text())
    assert said["rows"] == 18 and len(said["scores"]) == 3
    chosen = sorted(sorted(range(1, 4), key=lambda layer: said["scores"][layer - 1])[1:])
    assert sorted(path.stem for path in tmp_path.glob("features-*")) == [f"features-{layer}" for layer in chosen]
    unit = text.unit("kd_selective", method=method)
    folder = train(text, unit, teacher=str(tmp_path)) / "kd_selective/1"
    pairs = {name: value for name, value in trace(folder, "log")[0]["terms"].items() if name.startswith(PAIR)}
    assert pairs == {f"{PAIR}2": chosen[0], f"{PAIR}3": chosen[1]}
    here("probe", text.trial_job(unit, out=str(tmp_path / "probe"), teacher=str(tmp_path), student_layers=3))
    variants = json.loads((tmp_path / "probe/kd_selective/probe.json").read_text())["variants"]
    assert variants[2:] == ["logits", *(f"features-{layer}" for layer in chosen)]


def test_several_teachers_differ_by_their_seed_and_are_handed_out_in_their_order(text, tmp_path):
    for name in ("teacher.json", "config.json", "weights.safetensors"):
        shutil.copyfile(text.teacher / name, tmp_path / name)
    here("teacher", text.teacher_job(out=str(tmp_path), method=METHOD | {"name": "kd", "teachers": 2}))
    first, second = (load_file(place / "logits.safetensors")["logits"] for place in (tmp_path, tmp_path / "teacher-1"))
    answers = Teacher(str(tmp_path), facts(text)["task"]).several(torch.tensor([3, 1]), 2)
    torch.testing.assert_close(answers.detach(), torch.stack([first[[3, 1]], second[[3, 1]]]))
    assert not torch.equal(first, second)


def test_teacher_that_is_not_trained_answers_as_the_checkpoint_does(text, tmp_path):
    model = load(text.teacher, json.loads((text.data / "seen/task.json").read_text()))
    model.save_pretrained(tmp_path / "published")
    unit = text.teacher_job()["unit"]
    unit |= {"model": unit["model"] | {"checkpoint": str(tmp_path / "published")}}
    here("teacher", text.teacher_job(out=str(tmp_path / "out"), unit=unit, steps=0, file="/nowhere/train.py"))
    assert sha256(tmp_path / "out/logits.safetensors") == sha256(text.teacher / "logits.safetensors")
    assert json.loads((tmp_path / "out/teacher.json").read_text())["steps"] == 0
    assert (tmp_path / "out/trace.jsonl").read_text() == ""


def test_an_assistant_learns_what_the_teacher_says_and_no_hidden_label(text, tmp_path):
    spec = text.models["teacher"] | {"width": 24}
    unit = {"arm": "assistant", "model": spec, "method": METHOD, "teacher": True, "training": TRAINING}
    job = {"unit": unit | {"reveal_transfer": False}, "file": str(TEMPLATES / "kd.py"), "labels": ""}
    job |= {"teacher": str(text.teacher), "method": METHOD | {"name": "assistant"}}
    shutil.copytree(text.teacher, tmp_path / "other")
    logits = load_file(tmp_path / "other/logits.safetensors")["logits"]
    save_file({"logits": logits.flip(0)}, tmp_path / "other/logits.safetensors")
    here("teacher", text.teacher_job(out=str(tmp_path / "ours"), **job))
    here("teacher", text.teacher_job(out=str(tmp_path / "theirs"), **job | {"teacher": str(tmp_path / "other")}))
    ours, theirs = (load_file(tmp_path / name / "logits.safetensors")["logits"] for name in ("ours", "theirs"))
    assert len(ours) == len(logits) == 96 and not torch.equal(ours, theirs)
    said = json.loads((tmp_path / "ours/teacher.json").read_text())
    assert said["spec"]["width"] == 24 and said["steps"] == 2 * STEPS
    assert trace(tmp_path / "ours", "end")[0]["distinct"] == {"train": 32, "transfer": 64}
    torch.testing.assert_close(
        Teacher(str(tmp_path / "ours"), facts(text)["task"]).answers({"ids": torch.tensor([5])}), ours[[5]]
    )


def test_teacher_that_diverges_is_explained_and_leaves_no_marker(text, tmp_path):
    file = text.train_file(
        tmp_path, "student_only", ("self.experiment.log", 'loss = loss * float("nan"); self.experiment.log')
    )
    with pytest.raises(BaselineError, match="teacher: training diverged: the loss is nan at step 1") as caught:
        here("teacher", text.teacher_job(out=str(tmp_path / "out"), file=file))
    assert caught.value.hint == "lower teacher_training.learning_rate"
    assert not (tmp_path / "out/teacher.json").exists()


# ── trial ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("kind", "arm"), [(kind, arm) for kind in ONLY for arm in ARMS + ONLY[kind]])
def test_every_method_trains_on_the_rows_it_is_defined_for(labs, kind, arm):
    folder = labs[kind].trials / arm / "1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    assert trace(folder, "end")[0]["step"] == STEPS
    lines = trace(folder, "log")
    assert [line["step"] for line in lines] == list(range(1, STEPS + 1))
    assert all({t for t in line["terms"] if not t.startswith(PAIR)} == TERMS[arm] for line in lines)
    assert trace(folder, "start")[0]["executed"]["rows"] == (32 if arm in ("student_only", "teacher_free") else 32 + 64)


@pytest.mark.parametrize(
    ("kind", "arm", "instead"),
    [("text", "attention", "use method tinybert"), ("image", "tinybert", "use attention"), ("image", "pkd", "hidden")],
)
def test_a_method_is_refused_for_other_rows_with_what_to_use_instead(labs, train, kind, arm, instead):
    said = report(train(labs[kind], labs[kind].unit(arm)) / arm / "1")
    assert said["status"] == "failed" and instead in said["error"]


def test_a_bilstm_student_is_distilled_and_predicts(text, train, tmp_path):
    model = text.models["student"] | {"architecture": "bilstm"}
    folder = train(text, text.unit("kd", model=model)) / "kd/1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    unit = text.answer("kd", model=model, weights=str(folder / "weights.safetensors"))
    here("predict", text.predict_job(unit, out=str(tmp_path / "logits")))
    said = json.loads((tmp_path / "logits/kd/prediction.json").read_text())
    assert (said["status"], said["class"]) == ("ok", "BiLSTMForSequenceClassification") and said["change"] > 0


def test_logged_loss_is_made_of_the_logged_terms_and_the_planned_weights(lab):
    for line in (line for arm in ARMS[2:] + ONLY[lab.kind] for line in trace(lab.trials / arm / "1", "log")):
        terms = {"feature": 0.0} | line["terms"]
        soft = terms.get("distillation", terms.get("regularisation"))
        expected = (1 - METHOD["alpha"]) * terms["task"] + METHOD["alpha"] * soft + terms["feature"]
        assert line["loss"] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("arm", ["student_only", "kd_selective"])
def test_a_trial_alone_equals_the_same_trial_after_others_bit_by_bit(lab, arm, train):
    alone = train(lab, lab.unit(arm)) / arm / "1"
    assert sha256(alone / "weights.safetensors") == sha256(lab.trials / arm / "1/weights.safetensors")


def test_seeds_share_neither_start_nor_end_and_arms_share_the_start(lab, train):
    folder = train(lab, lab.unit("kd", seeds=[2])) / "kd/2"
    assert report(folder)["initial"] != report(lab.trials / "kd/1")["initial"]
    assert {report(lab.trials / arm / "1")["initial"] for arm in ARMS} == {report(lab.trials / "kd/1")["initial"]}
    assert len({sha256(lab.trials / arm / "1/weights.safetensors") for arm in ARMS}) == len(ARMS)


def test_kd_12_cached_and_online_features_give_the_same_losses(lab, train, tmp_path):
    shutil.copytree(lab.teacher, tmp_path / "teacher", ignore=shutil.ignore_patterns("features-*"))
    online = train(lab, lab.unit("kd_selective"), teacher=str(tmp_path / "teacher")) / "kd_selective/1"
    cached = lab.trials / "kd_selective/1"
    for one, other in zip(trace(online, "log"), trace(cached, "log"), strict=True):
        assert one["terms"] == pytest.approx(other["terms"], rel=1e-4, abs=1e-6)  # a term is a sum of logs in fp32
    uses = [trace(folder, "end")[0]["teacher"] for folder in (online, cached)]
    assert [(each["forwards"], each["feature_reads"]) for each in uses] == [(STEPS, 0), (0, STEPS)]
    assert {each["weights"] for each in uses} == {teacher_facts(lab)["fingerprint"]}


def test_trials_leave_the_teacher_as_it_was_when_it_was_trained(lab):
    saved = from_config(lab.teacher, teacher_facts(lab)["spec"], facts(lab)["task"])
    saved.load_state_dict(weights(lab.teacher))
    assert fingerprint(saved) == teacher_facts(lab)["fingerprint"]
    assert trace(lab.trials / "kd/1", "end")[0]["teacher"]["weights"] == teacher_facts(lab)["fingerprint"]


def test_a_teacher_that_edited_code_changes_shows_in_the_trace(text, train, tmp_path):
    spoil = "experiment.teacher.model().classifier.bias.data.add_(1)\n    trainer.train()"
    unit = text.unit("spoils", file=text.train_file(tmp_path, "kd", (TRAINS, spoil)))
    uses = trace(train(text, unit) / "spoils/1", "end")[0]["teacher"]
    assert uses["weights"] != teacher_facts(text)["fingerprint"]


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        ("text", "wml"),
        ("text", "crd"),
        ("text", "tinybert"),
        ("image", "wml"),
        ("image", "crd"),
        ("image", "attention"),
    ],
)
def test_methods_train_in_bf16_too(labs, train, kind, method):
    """Those whose losses do most by themselves; wml's gradient through a step is taken in fp32."""
    settings, lab = METHOD | Method(name=method).settings | {"name": method}, labs[kind]
    folder = train(lab, lab.unit(method, method=settings, training=TRAINING | {"precision": "bf16"})) / method / "1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    assert trace(folder, "start")[0]["executed"]["precision"] == "bf16"


def test_trace_holds_what_was_executed(lab, train):
    training = {"learning_rate": 0.02, "batch_size": 8, "accumulation": 2, "optimizer": "sgd", "schedule": "constant"}
    training |= {"weight_decay": 0.03, "max_grad_norm": 0.5, "precision": "bf16", "warmup": 0.5, "compiled": False}
    folder = train(lab, lab.unit("kd", training=training), steps=4) / "kd/1"
    assert report(folder)["status"] == "ok"
    found = trace(folder, "start")[0]["executed"]
    assert found.pop("determinism").startswith("deterministic algorithms off, matmul precision highest")
    wanted = {name: value for name, value in training.items() if name != "schedule"} | {"dropout": "as built"}
    assert found == wanted | {"warmup": 2, "steps": 4, "device": "cpu", "threads": 1, "seed": 1, "rows": 96}
    end = trace(folder, "end")[0]
    assert end["executed"].pop("determinism")
    assert end["executed"] == {name: value for name, value in wanted.items() if name != "warmup"}
    assert end["reads"] == {"temperature": 8, "alpha": 16}
    assert (end["step"], end["updates"], end["schedule"], end["touched"]) == (4, 4, "", 0)
    trained = build(lab.models["student"], facts(lab)["task"], seed=1)
    trained.load_state_dict(weights(folder))
    assert end["weights"] == fingerprint(trained)
    assert (end["forwards"], end["forward_rows"]) == (8, 64)
    assert 64 <= end["samples"] <= 64 + 8 and sum(end["distinct"].values()) == end["samples"]
    assert end["terms"]["distillation"] == {"count": 8, "zeros": 0}
    seen = end["gradients"]["logits"]
    assert seen["reached"] == 8 and 0 < seen["least"] <= seen["most"]
    assert trace(folder, "start")[0]["weights"] == report(folder)["initial"]
    assert all(value.dtype in (torch.float32, torch.int64) for value in weights(folder).values())


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_planned_optimizer_runs_and_spares_biases_and_norms_from_decay(text, tmp_path, name):
    made = experiment(text, tmp_path, training=TRAINING | {"optimizer": name})
    optimizer, schedule = made.optimizer(made.student)
    assert type(optimizer).__name__.lower() == name
    sizes = [{parameter.ndim > 1 for parameter in group["params"]} for group in optimizer.param_groups]
    assert sizes == [{True}, {False}]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [TRAINING["weight_decay"], 0.0]
    rates = [schedule.lr_lambdas[0](step) for step in range(STEPS + 1)]
    assert rates == pytest.approx([0, 0.5, 1, 0.75, 0.5, 0.25, 0])


def test_an_own_learning_rate_for_some_weights_shows_in_the_trace(text, train, tmp_path):
    own = "optimizers=faster(experiment.optimizer(experiment.student))"
    code = (
        "def faster(made):\n    made[0].param_groups[1]['initial_lr'] = 1.0\n    return made\n\n\ndef train(experiment)"
    )
    edits = [("optimizers=experiment.optimizer(experiment.student)", own), ("def train(experiment)", code)]
    folder = train(text, text.unit("own", file=text.train_file(tmp_path, "kd", *edits))) / "own/1"
    assert trace(folder, "start")[0]["executed"]["learning_rate"] == [TRAINING["learning_rate"], 1.0]


def test_trainer_is_imported_before_the_first_trial():
    """In the copy that each trial runs in it would cost as much as a small training."""
    assert trial.Trainer is Trainer


def test_student_peer_and_teacher_read_texts_in_parts(text, tmp_path, monkeypatch):
    monkeypatch.setattr(by_length, "START", 0.0)  # of models as small as these none would pay
    trial = experiment(text, tmp_path)
    batch = trial.model_inputs(trial.collator([trial.train_dataset[place] for place in range(16)]))
    real, read = torch.nn.Embedding.forward, list[int]()
    monkeypatch.setattr(torch.nn.Embedding, "forward", lambda self, ids: read.append(len(ids)) or real(self, ids))
    for model in (trial.student, trial.peer(1), trial.teacher.model()):
        read.clear()
        model(**batch)
        assert set(read) - {1} == {4}


def test_four_batches_of_eight_equal_one_of_thirty_two(text, train):
    model = text.models["student"] | {"dropout": 0.0}
    once = TRAINING | {"optimizer": "sgd", "max_grad_norm": 1e9, "batch_size": 32, "learning_rate": 0.05}
    often = once | {"batch_size": 8, "accumulation": 4}
    units = [text.unit(arm, model=model, training=training) for arm, training in (("kd", once), ("pseudo_label", once))]
    for unit, training in list(zip(units, (often, often), strict=True)):
        units.append(unit | {"arm": f"{unit['arm']}_often", "training": training})
    folder = train(text, *units, steps=3)
    for arm in ("kd", "pseudo_label"):
        one, other = weights(folder / arm / "1"), weights(folder / f"{arm}_often/1")
        start = build(model, facts(text)["task"], seed=1).state_dict()
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=1e-4, atol=1e-6)
        assert any((value - start[name]).abs().max() > 1e-3 for name, value in one.items())


def test_transfer_labels_reach_only_the_arm_that_measures_their_worth(lab, tmp_path):
    hidden, shown = (experiment(lab, tmp_path, reveal_transfer=reveal) for reveal in (False, True))
    assert set(hidden.transfer_dataset.labels.tolist()) == {NO_LABEL}
    assert (len(hidden.train_dataset), len(shown.train_dataset), len(shown.transfer_dataset)) == (32, 96, 0)
    assert (
        shown.train_dataset.labels[32:].tolist()
        == load_file(lab.data / "labels/transfer.safetensors")["labels"].tolist()
    )
    both = [made.train_dataset + made.transfer_dataset for made in (hidden, shown)]
    assert both[0].ids.tolist() == both[1].ids.tolist() == list(range(96))


def test_what_train_py_claims_of_itself_is_kept_apart(text, train, tmp_path):
    edits = [
        ("data_collator=", "eval_dataset=experiment.train_dataset,\n        data_collator="),
        (
            "callbacks=",
            'compute_metrics=lambda found: {"rows": len(found.label_ids), "odd": float("nan")},\n        callbacks=',
        ),
        (TRAINS, "trainer.train()\n    trainer.evaluate()"),
    ]
    unit = text.unit("claims", file=text.train_file(tmp_path, "student_only", *edits), teacher=False)
    folder = train(text, unit) / "claims/1"
    assert report(folder)["status"] == "ok", report(folder)
    claimed = trace(folder, "claimed")[0]["metrics"]
    assert claimed["eval_rows"] == SIZES["train_rows"] and not {"eval_odd", "epoch"} & set(claimed)


FAILURES = {
    "raises": ("def train(experiment):\n    raise KeyError('no such layer')", "KeyError: 'no such layer'"),
    "broken": ("def train(experiment:", "SyntaxError: '(' was never closed (train.py, line 1)"),
    "quits": ("def train(experiment):\n    raise SystemExit(3)", "SystemExit: 3"),
    "nothing": (
        "def train(experiment):\n    pass",
        "returned NoneType, not the trained DistilBertForSequenceClassification",
    ),
    "another": (
        "from torch import nn\n\ndef train(experiment):\n    return nn.Linear(2, 2)",
        "returned Linear, not the trained DistilBertForSequenceClassification",
    ),
    "infinite": (
        "def train(experiment):\n    experiment.student.classifier.bias.data.fill_(float('inf'))\n"
        "    return experiment.student",
        "training diverged: NaN or infinite values in classifier.bias",
    ),
    "asks": ("def train(experiment):\n    experiment.method.gamma", "the plan has no method setting 'gamma'"),
    "sets": (
        "def train(experiment):\n    experiment.method.alpha = 0.9",
        "experiment.method.alpha is fixed by the plan",
    ),
}


def test_a_train_py_that_fails_is_a_result_and_the_other_arms_still_run(text, train, tmp_path):
    units = []
    for name, (code, _) in FAILURES.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "train.py").write_text(code)
        units.append(text.unit(name, file=str(tmp_path / name / "train.py"), seeds=[1, 2]))
    folder = train(text, *units, text.unit("kd"))
    for name, (_, error) in FAILURES.items():
        said = report(folder / name / "1")
        assert said["status"] == "failed" and error in said["error"], said
        assert "train.py" in said["traceback"] or name in ("nothing", "another", "infinite")
        assert not (folder / name / "1/weights.safetensors").exists()
        assert not (folder / name / "2").exists()
    assert report(folder / "kd/1")["status"] == "ok"
    assert sha256(folder / "kd/1/weights.safetensors") == sha256(text.trials / "kd/1/weights.safetensors")


def test_training_that_diverges_stops_at_once_and_leaves_a_strict_trace(lab, train):
    wild = TRAINING | {"optimizer": "sgd", "learning_rate": 1e30, "max_grad_norm": 1e30, "warmup": 0.0}
    folder = train(lab, lab.unit("kd", training=wild)) / "kd/1"
    assert report(folder)["error"].startswith("FloatingPointError: training diverged: the loss is nan at step ")
    last = 0
    for line in (folder / "trace.jsonl").read_text().splitlines():
        last = json.loads(line, parse_constant=pytest.fail).get("step", last)
    assert last < STEPS and not trace(folder, "end")


IMPORT_TORCH = ("from transformers import Trainer", "import torch\nfrom transformers import Trainer")
DISHONEST = {
    "another rate at the third step": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        if self.state.global_step == 2:\n"
        "            self.optimizer.param_groups[0]['lr'] = 0.5",
        lambda end: end["schedule"].startswith("0.5 instead of 0.0") and end["schedule"].endswith(" at update 3"),
    ),
    "two updates in one step": (
        "def compute_loss(self, model, inputs, **kwargs):\n        self.optimizer.step()",
        lambda end: (end["step"], end["updates"]) == (STEPS, 2 * STEPS),
    ),
    "an update by hand": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        if self.state.global_step == 2:\n"
        "            model.classifier.bias.data.add_(1e-3)",
        lambda end: end["touched"] == 1,
    ),
    "an update by hand of one row of a table, as autograd sees it": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        if self.state.global_step == 2:\n"
        "            model.get_input_embeddings().weight.detach()[7].neg_()",
        lambda end: end["touched"] == 1,
    ),
    "other memory in the place of a weight's": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        if self.state.global_step == 2:\n"
        "            model.classifier.bias.data = model.classifier.bias.data + 1e-3",
        lambda end: end["touched"] == 1,
    ),
    "another layer in the place of one": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        if self.state.global_step == 2:\n"
        "            model.classifier = torch.nn.Linear(model.classifier.in_features, model.classifier.out_features)",
        lambda end: end["touched"] == 1,
    ),
    "half of each batch": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        inputs = {name: value[:8] for name, value in inputs.items()}",
        lambda end: end["forward_rows"] == 8 * STEPS and end["samples"] >= 16 * STEPS,
    ),
    "a larger norm on the way": (
        "def compute_loss(self, model, inputs, **kwargs):\n        self.args.max_grad_norm = 1e9",
        lambda end: end["executed"]["max_grad_norm"] == 1e9,
    ),
    "the teacher in the first steps only": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        if self.state.global_step >= 2:\n"
        "            inputs['teacher_logits'] = torch.zeros_like(inputs['teacher_logits'])",
        lambda end: end["gradients"]["logits"]["reached"] == 2,
    ),
    "a teacher that fades": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        if self.state.global_step >= 2:\n"
        "            inputs['teacher_logits'] = inputs['teacher_logits'] * 0",
        lambda end: end["gradients"]["logits"]["reached"] == STEPS and end["gradients"]["logits"]["least"] == 0,
    ),
    "a term that is nothing": (
        "def compute_loss(self, model, inputs, **kwargs):\n        self.experiment.log(distillation=0.0)",
        lambda end: end["terms"]["distillation"] == {"count": 2 * STEPS, "zeros": STEPS},
    ),
}


@pytest.mark.parametrize("what", DISHONEST)
def test_what_departs_from_the_plan_on_the_way_shows_in_the_trace(text, train, tmp_path, what):
    code, seen = DISHONEST[what]
    signature = "def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):"
    code = code.replace("**kwargs", "return_outputs=False, num_items_in_batch=None")
    unit = text.unit("departs", file=text.train_file(tmp_path, "kd", (signature, code), IMPORT_TORCH))
    folder = train(text, unit) / "departs/1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    assert seen(trace(folder, "end")[0]), trace(folder, "end")


def test_what_the_trace_has_said_cannot_be_taken_back(text, train, tmp_path):
    forge = "trainer.train()\n    (experiment.out / 'trace.jsonl').write_text('all as planned')"
    unit = text.unit("forges", file=text.train_file(tmp_path, "kd", (TRAINS, forge)))
    folder = train(text, unit) / "forges/1"
    assert [line["step"] for line in trace(folder, "end")] == [STEPS]


def test_other_weights_at_the_first_step_show_in_the_trace(text, train, tmp_path):
    spoil = "experiment.student.classifier.bias.data.add_(1)\n    trainer.train()"
    unit = text.unit("spoils", file=text.train_file(tmp_path, "kd", (TRAINS, spoil)))
    folder = train(text, unit) / "spoils/1"
    assert trace(folder, "start")[0]["weights"] != report(folder)["initial"]


def test_weights_changed_after_training_show_in_the_trace(text, train, tmp_path):
    spoil = "trainer.train()\n    experiment.student.classifier.bias.data.add_(1)"
    unit = text.unit("spoils", file=text.train_file(tmp_path, "kd", (TRAINS, spoil)))
    folder = train(text, unit) / "spoils/1"
    handed_in = build(text.models["student"], facts(text)["task"], seed=1)
    handed_in.load_state_dict(weights(folder))
    assert trace(folder, "end")[0]["weights"] != fingerprint(handed_in)


def test_rows_that_are_left_out_are_missed(text, train, tmp_path):
    edit = ("experiment.train_dataset + experiment.transfer_dataset", "experiment.train_dataset")
    folder = train(text, text.unit("few", file=text.train_file(tmp_path, "kd", edit))) / "few/1"
    assert trace(folder, "end")[0]["distinct"] == {"train": 32, "transfer": 0}


def test_no_trial_inherits_what_an_earlier_one_left_in_memory(text, train, tmp_path):
    patch = "import torch\n\ntorch.nn.functional.kl_div = lambda *args, **kwargs: args[0].sum() * 0\n\n\n"
    file = text.train_file(tmp_path, "kd", ("def train(experiment)", f"{patch}def train(experiment)"))
    folder = train(text, text.unit("patches", file=file), text.unit("kd"))
    assert report(folder / "patches/1")["status"] == report(folder / "kd/1")["status"] == "ok"
    assert sha256(folder / "kd/1/weights.safetensors") == sha256(text.trials / "kd/1/weights.safetensors")


@pytest.mark.parametrize(
    ("code", "kind", "error"),
    [
        ("raise MemoryError", "memory", "MemoryError"),
        ('raise RuntimeError("DefaultCPUAllocator: can\'t allocate memory")', "memory", "can't allocate memory"),
        ("raise OSError(28, 'No space left on device')", "disk", "No space left"),
        ("raise FloatingPointError('the loss is nan')", "diverged", "the loss is nan"),
        ("raise ValueError('no')", "crash", "ValueError: no"),
        ("import os; os._exit(7)", "crash", "the trial's process ended with exit code 7"),
        ("import os; os.kill(os.getpid(), 9)", "crash", "the trial's process ended with signal 9"),
    ],
)
def test_each_way_to_fail_has_its_own_name_in_the_report(text, train, tmp_path, code, kind, error):
    (tmp_path / "train.py").write_text(f"def train(experiment):\n    {code}")
    said = report(train(text, text.unit("fails", file=str(tmp_path / "train.py"), teacher=False)) / "fails/1")
    assert (said["status"], said["kind"]) == ("failed", kind) and error in said["error"]


# ── probe ───────────────────────────────────────────────────────────────────────────────────────────────────────────

UNTAUGHT = ("alpha * soft", "alpha * soft.detach()")
PROBED = {
    "kd": ("kd", [], {"logits": True}),
    "kd_selective": ("kd_selective", [], {"logits": True, "features-2": True, "features-3": True}),
    "the term has no gradient": ("kd", [UNTAUGHT], {"logits": False}),
    "the weight is next to nothing": ("kd", [("+ method.alpha * soft", "+ 1e-9 * soft")], {"logits": False}),
    "the weight is zero": ("kd", [("+ method.alpha * soft", "+ 0 * method.alpha * soft")], {"logits": False}),
    "features without a weight": (
        "kd_selective",
        [("self.beta * feature", "0 * self.beta * feature")],
        {"logits": True, "features-2": False, "features-3": False},
    ),
    "a teacher of its own": (
        "kd",
        [
            (
                'inputs["teacher_logits"]',
                "self.experiment.teacher.model()(**self.experiment.model_inputs(inputs)).logits",
            )
        ],
        {"logits": True},
    ),
}


@pytest.mark.parametrize("case", PROBED)
def test_shuffling_the_teacher_tells_what_training_depends_on(lab, tmp_path, case):
    probed(lab, tmp_path, *PROBED[case])


def test_layer_that_is_left_out_makes_no_difference(text, tmp_path):
    edit = ("features(inputs, layers=self.teacher_layers)", "features(inputs, layers=self.teacher_layers[-1:] * 2)")
    probed(text, tmp_path, "kd_selective", [edit], {"logits": True, "features-2": False, "features-3": True})


def probed(lab, tmp_path, arm: str, edits: list[tuple[str, str]], expected: dict[str, bool]) -> None:
    layers = METHOD | {"name": arm, "layers": 2}
    unit = lab.unit("probed", file=lab.train_file(tmp_path / "file", arm, *edits), method=layers)
    here("probe", lab.trial_job(unit, out=str(tmp_path), student_layers=3))
    found = json.loads((tmp_path / "probed/probe.json").read_text())["variants"]
    assert found == ["as-is", "again", *expected]
    measured = measure(tmp_path / "probed", STEPS, tmp_path / "scratch")
    assert measured.again == 0 < measured.moved
    assert {name: name in measured.outputs for name in measured.shuffled} == expected


def test_a_finished_trial_is_not_repeated(text, train, tmp_path):
    done = tmp_path / "trials/kd/1"
    done.mkdir(parents=True)
    (done / "trial.json").write_text('{"status": "ok"}')
    train(text, text.unit("kd", seeds=[1, 2]))
    assert [path.name for path in done.iterdir()] == ["trial.json"]
    assert report(tmp_path / "trials/kd/2")["status"] == "ok"


def test_method_settings_are_read_only_and_count_their_reads():
    method = Settings({"alpha": 0.5, "layers": 3})
    assert method.alpha + method.alpha + method.layers == 4
    assert method.reads == {"alpha": 2, "layers": 1}
    with pytest.raises(AttributeError, match=r"experiment\.method\.alpha is fixed by the plan"):
        method.alpha = 0.9
    with pytest.raises(AttributeError, match="no method setting 'beta'; it has alpha, layers"):
        method.beta  # noqa: B018
    assert method.alpha == 0.5


# ── predict ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def prediction(folder: Path, name: str) -> dict:
    return json.loads((folder / name / "prediction.json").read_text())


def test_prediction_finds_the_start_the_end_and_the_distance_of_each_student(lab):
    task = facts(lab)["task"]
    for arm in ARMS + ONLY[lab.kind]:
        said = prediction(lab.logits, arm)
        assert said["status"] == "ok" and said["initial"] == report(lab.trials / arm / "1")["initial"]
        trained = build(lab.models["student"], task, seed=1)
        before = torch.nn.utils.parameters_to_vector(trained.parameters()).detach()
        trained.load_state_dict(weights(lab.trials / arm / "1"))
        after = torch.nn.utils.parameters_to_vector(trained.parameters()).detach()
        assert said["fingerprint"] == fingerprint(trained) != said["initial"]
        assert said["change"] == pytest.approx(float((after - before).norm()), rel=1e-4)
        assert said["furthest"] == pytest.approx(float((after - before).abs().max()), rel=1e-4)
        assert (said["size"], said["largest"]) == pytest.approx((float(before.norm()), float(before.abs().max())))
        assert (said["class"], said["parameters"]) == (type(trained).__name__, parameters(trained))
        logits = load_file(lab.logits / arm / "logits.safetensors")["logits"]
        assert logits.shape == (SIZES["test_rows"], len(task["labels"])) and logits.isfinite().all()


def test_logits_come_in_the_order_of_the_rows(lab):
    """One by one and unsorted, the rows get the answers that the file has for them."""
    from baselines.data.collator import Collator

    task = facts(lab)["task"]
    rows = read_rows(lab.data / "held/test.safetensors", lab.kind)
    student = build(lab.models["student"], task, seed=1)
    student.load_state_dict(weights(lab.trials / "kd/1"))
    stored = load_file(lab.logits / "kd/logits.safetensors")["logits"]
    for place in range(len(rows)):
        batch = Collator(task)([rows[place]])
        inputs = {name: value for name, value in batch.items() if name not in ("ids", "labels")}
        with torch.no_grad():
            torch.testing.assert_close(student.eval()(**inputs).logits[0], stored[place], rtol=1e-4, atol=1e-5)


def test_predicting_again_gives_the_same_bits(lab, tmp_path):
    here("predict", lab.predict_job(lab.answer("kd"), out=str(tmp_path)))
    assert sha256(tmp_path / "kd/logits.safetensors") == sha256(lab.logits / "kd/logits.safetensors")


def test_weights_that_are_not_the_planned_students_are_refused_and_the_others_answered(lab, tmp_path):
    kept = lab.trials / "kd/1/weights.safetensors"
    (tmp_path / "cut").write_bytes(kept.read_bytes()[:-100])
    save_file(weights(kept.parent) | {"extra": torch.zeros(1)}, tmp_path / "more")
    units = [
        lab.answer("wider", model=lab.models["student"] | {"width": 32}),
        *(lab.answer(name, weights=str(tmp_path / name)) for name in ("cut", "more", "none")),
        lab.answer("kd"),
    ]
    units[0]["weights"] = str(kept)
    here("predict", lab.predict_job(*units, out=str(tmp_path / "out")))
    said = {unit["name"]: prediction(tmp_path / "out", unit["name"]) for unit in units}
    assert {name for name, each in said.items() if each["status"] == "failed"} == {"wider", "cut", "more", "none"}
    assert "size mismatch" in said["wider"]["error"] and "extra" in said["more"]["error"]
    assert not any("\n" in each.get("error", "") for each in said.values())
    assert said["kd"]["status"] == "ok"
    assert [path.parent.name for path in (tmp_path / "out").rglob("logits.safetensors")] == ["kd"]


def test_latency_is_measured_where_it_is_asked_for(text, tmp_path):
    here("predict", text.predict_job(text.answer("kd", latency=True), out=str(tmp_path)))
    said = prediction(tmp_path, "kd")
    assert 0 < said["inference_ms"] <= said["inference_ms_p95"] < 1000
    assert (said["device"], said["threads"]) == ("cpu", 1)
    assert "inference_ms" not in prediction(text.logits, "kd")
