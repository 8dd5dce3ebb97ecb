"""trial: each arm learns what it is planned to, and writes down what was executed."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import Trainer

from agent.plan.method import Method
from baselines.data.rows import NO_LABEL
from baselines.models import by_length
from baselines.models.build import build, from_config
from baselines.models.fingerprint import fingerprint
from baselines.processes import trial
from tests.baselines.lab import (
    ARMS,
    METHOD,
    ONLY,
    SIZES,
    STEPS,
    TRAINING,
    TRAINS,
    experiment,
    facts,
    here,
    report,
    sha256,
    teacher_facts,
    trace,
    weights,
)

pytestmark = pytest.mark.slow
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
    saved = from_config(lab.teacher, teacher_facts(lab)["spec"])
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


def test_a_finished_trial_is_not_repeated(text, train, tmp_path):
    done = tmp_path / "trials/kd/1"
    done.mkdir(parents=True)
    (done / "trial.json").write_text('{"status": "ok"}')
    train(text, text.unit("kd", seeds=[1, 2]))
    assert [path.name for path in done.iterdir()] == ["trial.json"]
    assert report(tmp_path / "trials/kd/2")["status"] == "ok"
