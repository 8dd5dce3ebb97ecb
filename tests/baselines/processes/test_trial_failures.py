"""trial: a train.py that fails, or that departs from the plan, and how it is told."""

import json

import pytest

from baselines.models.build import build
from baselines.models.fingerprint import fingerprint
from tests.baselines.lab import STEPS, TRAINING, TRAINS, facts, report, sha256, trace, weights

pytestmark = pytest.mark.slow
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
    "each batch twice": (
        "def compute_loss(self, model, inputs, **kwargs):\n"
        "        model(**{name: inputs[name] for name in ('input_ids', 'attention_mask', 'labels')}).loss.backward()",
        lambda end: end["forward_rows"] == 2 * 16 * STEPS and end["samples"] >= 16 * STEPS,
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
        ("raise OSError(28, 'No space left on device')", "space", "No space left"),
        ("raise FileNotFoundError(2, 'No usable temporary directory found')", "space", "No usable temporary"),
        ("raise OSError(27, 'File too large')", "disk", "File too large"),
        ("import os; os.kill(os.getpid(), 9)", "killed", "ended with signal 9"),
        ("import os; os.kill(os.getpid(), 10)", "crash", "ended with signal 10"),
        ("raise FloatingPointError('the loss is nan')", "diverged", "the loss is nan"),
        ("raise ValueError('no')", "crash", "ValueError: no"),
        ("import os; os._exit(7)", "crash", "the trial's process ended with exit code 7"),
    ],
)
def test_each_way_to_fail_has_its_own_name_in_the_report(text, train, tmp_path, code, kind, error):
    (tmp_path / "train.py").write_text(f"def train(experiment):\n    {code}")
    said = report(train(text, text.unit("fails", file=str(tmp_path / "train.py"), teacher=False)) / "fails/1")
    assert (said["status"], said["kind"]) == ("failed", kind) and error in said["error"]
