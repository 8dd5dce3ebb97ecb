"""A corpus as a task: texts without labels, the next token as what is asked, and the methods defined for it."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from transformers import AutoTokenizer, BertConfig, BertForMaskedLM, GPT2LMHeadModel

from baselines.data.collator import Collator
from baselines.data.corpora import as_corpus, at_least
from baselines.data.examples import DataSource, Examples
from baselines.data.rows import NO_LABEL, read_rows
from baselines.errors import BaselineError
from baselines.methods import causal
from baselines.methods.kd import cross_entropy
from baselines.methods.miniplm import difference_sampled, log_likelihoods
from baselines.models.build import build, finished, refuse_foreign
from baselines.models.fingerprint import fingerprint, parameters
from baselines.processes.predict import asked
from baselines.training.cached_teacher import load
from baselines.training.experiment import Experiment
from tests.baselines.lab import CORPUS, METHOD, SPEC, STEPS, TRAINING, Lab, here, report, trace, write_gpt2

SAMPLING = {"ratio": 0.5, "ref_fraction": 0.125, "ref_layers": 1, "ref_width": 8, "ref_epochs": 4}
REFERENCE = ("ratio", "ref_fraction", "ref_layers", "ref_width", "ref_epochs")
DRAWN, KEPT = 12, 42
METHODS = {
    "student_only": {},
    "kd": {"name": "kd", "temperature": 1.0, "alpha": 0.5},
    "miniplm": {"name": "miniplm"} | SAMPLING,
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    lab = Lab(tmp_path_factory.mktemp("corpus"), "language")
    here("prepare", lab.prepare_job())
    here("teacher", lab.teacher_job(method=METHODS["miniplm"], steps=8 * STEPS))
    here("trial", lab.trial_job(*(lab.unit(arm, method=method) for arm, method in METHODS.items())))
    return lab


@pytest.fixture
def task(lab):
    return json.loads((lab.data / "seen/task.json").read_text())


def experiment(lab, out, arm="miniplm", seed=1, **changes):
    out.mkdir(exist_ok=True)
    unit = lab.unit(arm, method=METHODS[arm] or METHOD, **changes)
    return Experiment(lab.trial_job(), unit, seed, out, (out / "trace.jsonl").open("w"))


def sampled(lab, out, seed=1, **changes):
    made = experiment(lab, out, seed=seed, **changes)
    return made, difference_sampled(made, made.train_dataset, *(SAMPLING[name] for name in REFERENCE))


# ── rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_of_texts_that_begin_alike_one_is_kept_and_rather_a_test_text():
    alike = "a beginning that is more than forty characters long"
    pool = [f"{alike}, and its end", "another text", "Another  TEXT", "a third"]
    test = [f"{alike}, and another end", f"{alike}, and a third end"]
    corpus = as_corpus(
        DataSource("text", ["a", "b"], Examples(pool, [0, 1, 0, 1]), Examples(test, [0, 1]), "made here")
    )
    assert (corpus.kind, corpus.names) == ("language", [])
    assert (corpus.pool.inputs, corpus.test.inputs) == (["another text", "a third"], test[:1])
    assert any(note.startswith("2 training texts left out") for note in corpus.notes)


def test_texts_that_do_not_fill_the_planned_length_are_left_out_and_counted():
    texts = Examples(["a b c", "a b", "a"], [0, 0, 0])
    found = at_least(
        DataSource("language", [], texts, texts, "made here"), 2, lambda each: [len(t.split()) for t in each]
    )
    assert found.pool.inputs == found.test.inputs == ["a b c", "a b"]
    assert found.notes == [f"1 {what} texts left out: shorter than 2 tokens" for what in ("training", "test")]


def test_a_held_out_text_lacks_the_token_that_is_its_label(lab, task):
    facts = json.loads((lab.data / "facts.json").read_text())
    rows = {name.removesuffix("_rows"): count for name, count in CORPUS.items()}
    assert facts["rows"] == rows and facts["overlap"] == 0
    assert task["labels"] == [
        *map(Tokenizer.from_file(str(lab.data / "seen/tokenizer.json")).id_to_token, range(len(task["labels"])))
    ]
    train = read_rows(lab.data / "seen/train.safetensors", "language")
    assert {len(item) for item in train.items} == {8} and set(train.labels.tolist()) == {NO_LABEL}
    whole = {item.tobytes() for item in train.items}
    for split in ("dev", "test"):
        held = read_rows(lab.data / f"held/{split}.safetensors", "language")
        labels = load_file(lab.data / f"labels/{split}.safetensors")["labels"].tolist()
        assert {len(item) for item in held.items} == {7} and len(labels) == len(held) == rows[split]
        assert [labels.count(token) for token in range(len(task["labels"]))] == facts["label_counts"][split]
        pairs = zip(held.items, labels, strict=True)
        assert not whole & {np.array([*item, label], dtype=np.int32).tobytes() for item, label in pairs}
    assert facts["label_counts"]["train"] == facts["label_counts"]["transfer"] == []


def test_a_batch_of_a_corpus_asks_for_every_next_token(lab, task, tmp_path):
    made = experiment(lab, tmp_path, "kd")
    batch = made.collator([made.train_dataset[0], made.train_dataset[3]])
    assert batch["labels"].tolist() == [*made.train_dataset.items[0][1:], *made.train_dataset.items[3][1:]]
    answers = load(lab.teacher)(batch["input_ids"]).logits[:, :-1].flatten(0, 1)
    torch.testing.assert_close(batch["teacher_logits"].detach(), answers)
    assert made.student(**made.model_inputs(batch)).logits.shape == answers.shape == (14, len(task["labels"]))


def test_a_prediction_is_what_follows_the_last_token_of_each_row(task):
    model = build(SPEC | {"architecture": "gpt2", "dropout": 0.0}, task, seed=0).eval()
    items = [{"ids": n, "input_ids": tokens, "labels": -100} for n, tokens in enumerate(([5, 6, 7], [8, 9], [5]))]
    together = model(**asked(model, Collator(task)(items))).logits
    for row, item in enumerate(items):
        alone = model(input_ids=torch.tensor([item["input_ids"]])).logits[0, -1]
        torch.testing.assert_close(together[row], alone)


def test_language_models_and_corpora_belong_together(lab):
    for spec, kind in (("bert", "language"), ("gpt2", "text"), ("gpt2", "image")):
        with pytest.raises(BaselineError, match=f"a {spec} is not for rows of the kind {kind}"):
            refuse_foreign(SPEC | {"architecture": spec}, kind)
    with pytest.raises(BaselineError, match="a distilbert is not for rows of the kind language") as caught:
        here("prepare", lab.prepare_job(out=str(lab.root / "no"), student=SPEC | {"architecture": "distilbert"}))
    assert "likelihood" in caught.value.hint
    with pytest.raises(BaselineError, match="no labels that could be wrong"):
        here("prepare", lab.prepare_job(out=str(lab.root / "no"), label_noise=0.1))


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return write_gpt2(tmp_path_factory.mktemp("hub") / "gpt2", n_embd=32)


@pytest.fixture(scope="module")
def known(published):
    """A task of the published model's tokens."""
    tokenizer = AutoTokenizer.from_pretrained(published)
    labels = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    return {"kind": "language", "labels": labels, "vocabulary": len(labels), "padding": 0, "input_size": 8}


def named(folder, **changes):
    return SPEC | {"architecture": "gpt2", "width": 32, "checkpoint": str(folder)} | changes


@pytest.fixture(scope="module", params=["both", "teacher", "student"])
def beside(request, published, tmp_path_factory):
    """A published teacher as it is, beside a student from sizes or from a checkpoint; or a published student alone."""
    lab = Lab(tmp_path_factory.mktemp("beside"), "language")
    if request.param != "student":
        lab.models["teacher"] = named(published)
    if request.param != "teacher":
        lab.models["student"] = named(write_gpt2(lab.root / "small", n_layer=2), width=16, layers=2)
    here("prepare", lab.prepare_job())
    here("teacher", lab.teacher_job(method=METHODS["miniplm"], steps=0 if request.param != "student" else STEPS))
    here("trial", lab.trial_job(*(lab.unit(arm, method=method) for arm, method in METHODS.items())))
    return lab


def test_a_published_model_answers_as_it_did_with_a_head_of_its_own(published, known):
    theirs, ours = GPT2LMHeadModel.from_pretrained(published).eval(), finished(named(published), known).eval()
    ids = torch.randint(0, known["vocabulary"], (3, 8))
    with torch.no_grad():
        assert torch.equal(ours(ids).logits, theirs(ids).logits)
    assert ours.lm_head.weight is not ours.transformer.wte.weight and not ours.config.tie_word_embeddings
    assert parameters(ours) - parameters(theirs) == 32 * known["vocabulary"]
    assert fingerprint(ours) == fingerprint(build(named(published), known, seed=1))


def test_a_head_that_was_published_apart_from_the_embedding_stays_so(tmp_path, known):
    folder = write_gpt2(tmp_path / "apart", tie_word_embeddings=False)
    stored = load_file(folder / "model.safetensors")
    found = build(named(folder, width=16), known, seed=0)
    assert torch.equal(found.lm_head.weight, stored["lm_head.weight"])
    del stored["lm_head.weight"]
    save_file(stored, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BaselineError, match=r"lacks 1 weights of the model, lm_head\.weight"):
        build(named(folder, width=16), known, seed=0)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"layers": 2}, "number of layers is 3, the plan has 2"),
        ({"width": 16}, "width is 32, the plan has 16"),
        ({"heads": 4}, "number of heads is 2, the plan has 4"),
        ({"input_size": 17}, "longest text is 16, the plan has 17"),
        ({"vocabulary": 289}, "vocabulary is 290, the plan has 289"),
    ],
)
def test_a_published_model_that_is_not_the_planned_one_is_refused(published, known, changes, says):
    spec = named(published) | {name: value for name, value in changes.items() if name in SPEC}
    with pytest.raises(BaselineError, match=says):
        build(spec, known | changes, seed=0)


def test_a_masked_language_model_is_no_gpt2(tmp_path, known):
    sizes = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "max_position_embeddings": 16}
    BertForMaskedLM(BertConfig(vocab_size=290, **sizes)).save_pretrained(tmp_path)
    with pytest.raises(BaselineError, match="architecture is bert, the plan has gpt2"):
        build(named(tmp_path), known, seed=0)


def test_the_classes_of_a_corpus_are_the_tokens_of_the_checkpoint(beside, known):
    task = json.loads((beside.data / "seen/task.json").read_text())
    assert task["labels"] == known["labels"] and "<|endoftext|>" in task["labels"]
    facts = json.loads((beside.data / "facts.json").read_text())
    assert {model["class"] for model in facts["models"].values()} == {"GPT2ForNextTokens"} and not facts["apart"]
    assert {len(item) for item in read_rows(beside.data / "seen/train.safetensors", "language").items} == {8}


@pytest.mark.parametrize("arm", METHODS)
def test_published_models_teach_and_learn(beside, known, tmp_path, arm):
    assert report(beside.trials / arm / "1")["status"] == "ok", report(beside.trials / arm / "1")["traceback"]
    here("predict", beside.predict_job(beside.answer(arm), out=str(tmp_path)))
    said = json.loads((tmp_path / arm / "prediction.json").read_text())
    assert said["status"] == "ok" and said["change"] > 0
    assert load_file(tmp_path / arm / "logits.safetensors")["logits"].shape == (24, known["vocabulary"])


@pytest.mark.parametrize("beside", ["both", "teacher"], indirect=True)
def test_a_published_teacher_that_is_not_trained_gives_its_own_likelihoods(beside, published):
    rows = read_rows(beside.data / "seen/train.safetensors", "language")
    theirs = log_likelihoods(GPT2LMHeadModel.from_pretrained(published), [item.tolist() for item in rows.items])
    torch.testing.assert_close(load_file(beside.teacher / "likelihoods.safetensors")["likelihoods"], theirs)


def test_models_of_different_tokens_are_refused_with_the_nearest_choice(published, tmp_path):
    lab = Lab(tmp_path, "language")
    other = write_gpt2(tmp_path / "other", words=["another vocabulary of other words"] * 9)
    lab.models |= {"teacher": named(published), "student": named(other, width=16)}
    with pytest.raises(BaselineError, match="different vocabularies, and each token of a corpus is a class") as caught:
        here("prepare", lab.prepare_job())
    assert "leave out student.checkpoint" in caught.value.hint


# ── training ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_cross_entropy_of_next_tokens_is_the_language_loss_of_texts_of_one_length(lab, task):
    model = build(SPEC | {"architecture": "gpt2", "dropout": 0.0}, task, seed=0)
    rows = read_rows(lab.data / "seen/train.safetensors", "language")
    batch = Collator(task)([rows[place] for place in range(5)])
    ours = cross_entropy(model(batch["input_ids"], places=batch["places"]).logits, batch["labels"])
    torch.testing.assert_close(ours, causal.language_loss(model, batch["input_ids"], batch["attention_mask"]))


def test_the_teacher_leaves_one_likelihood_per_text(lab, task):
    rows = read_rows(lab.data / "seen/train.safetensors", "language")
    found = load_file(lab.teacher / "likelihoods.safetensors")["likelihoods"]
    likely = log_likelihoods(load(lab.teacher), [item.tolist() for item in rows.items], batch=1)
    torch.testing.assert_close(found, likely, rtol=1e-5, atol=1e-6)
    assert torch.equal(found, log_likelihoods(load(lab.teacher), [item.tolist() for item in rows.items]))
    assert not (lab.teacher / "logits.safetensors").exists()


@pytest.mark.parametrize("arm", METHODS)
def test_every_method_of_a_corpus_trains_as_many_steps_and_predicts_next_tokens(lab, task, tmp_path, arm):
    folder = lab.trials / arm / "1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    [end] = trace(folder, "end")
    assert (end["step"], end["updates"], end["touched"]) == (STEPS, STEPS, 0)
    assert end["teacher"].get("forwards", 0) == (0 if arm != "kd" else end["samples"] // TRAINING["batch_size"])
    here("predict", lab.predict_job(lab.answer(arm), out=str(tmp_path)))
    assert load_file(tmp_path / arm / "logits.safetensors")["logits"].shape == (24, len(task["labels"]))


def test_methods_of_the_same_seed_start_equal(lab):
    assert len({report(lab.trials / arm / "1")["initial"] for arm in METHODS}) == 1


def test_a_student_learns_the_corpus(lab, tmp_path):
    job = lab.trial_job(lab.unit("student_only", method={}), out=str(tmp_path), steps=60)
    here("trial", job)
    losses = [line["loss"] for line in trace(tmp_path / "student_only/1", "log")]
    assert losses[-1] < losses[0] - 1


# ── difference sampling ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_student_learns_from_the_planned_number_of_texts_and_from_none_that_trained_the_reference(lab, tmp_path):
    """MP-2."""
    made, kept = sampled(lab, tmp_path)
    order = torch.randperm(96, generator=torch.Generator().manual_seed(1)).tolist()
    assert len(kept) == KEPT == len({*kept.ids.tolist()}) and not {*kept.ids.tolist()} & {*order[:DRAWN]}
    assert kept.ids.tolist() == sorted(kept.ids) and all(
        (made.train_dataset.items[row] == item).all() for row, item in zip(kept.ids, kept.items, strict=True)
    )
    [end] = trace(lab.trials / "miniplm/1", "end")
    assert end["distinct"] == {"train": KEPT, "transfer": 0}
    assert {name: end["reads"][name] for name in SAMPLING} == dict.fromkeys(SAMPLING, 1)


def test_what_is_kept_scores_above_what_is_dropped(lab, tmp_path):
    """MP-1, on the log of a trial."""
    terms = trace(lab.trials / "miniplm/1", "log")[0]["terms"]
    assert terms["score_kept"] > terms["score_dropped"]


def test_the_choice_follows_from_the_seed_and_from_the_teacher_and_draws_nothing_of_the_trial(lab, tmp_path):
    first, again = (sampled(lab, tmp_path / name)[1].ids.tolist() for name in ("a", "b"))
    _, shuffled = sampled(lab, tmp_path / "c", ablate="likelihoods")
    _, other = sampled(lab, tmp_path / "d", seed=2)
    assert first == again != shuffled.ids.tolist() and other.ids.tolist() != first
    made = experiment(lab, tmp_path / "e")
    state = torch.get_rng_state()
    difference_sampled(made, made.train_dataset, *(SAMPLING[name] for name in REFERENCE))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_ratio_of_one_keeps_every_text_that_did_not_train_the_reference(lab, tmp_path):
    """MP-6."""
    made = experiment(lab, tmp_path)
    kept = difference_sampled(made, made.train_dataset, *(SAMPLING | {"ratio": 1.0}).values())
    assert len(kept) == 96 - DRAWN


def test_texts_that_are_kept_can_be_distilled_on_too(lab, tmp_path):
    """miniplm + kd: chosen rows and the teacher's answer to each of their tokens."""
    chosen = "difference_sampled(experiment, experiment.train_dataset, *reference)"
    imported, settings = "import cross_entropy, distillation\n", ", ".join(f"experiment.method.{n}" for n in REFERENCE)
    edits = (
        (imported, f"{imported}from baselines.methods.miniplm import difference_sampled\n"),
        ("    trainer = Dist", f"    reference = ({settings})\n    trainer = Dist"),
        ("experiment.train_dataset + experiment.transfer_dataset", chosen),
    )
    unit = lab.unit("kd", file=lab.train_file(tmp_path, "kd", *edits), method=METHODS["kd"] | SAMPLING)
    here("trial", lab.trial_job(unit, out=str(tmp_path / "out")))
    folder = tmp_path / "out/kd/1"
    assert report(folder)["status"] == "ok", report(folder)["traceback"]
    [end] = trace(folder, "end")
    assert end["distinct"]["train"] == KEPT and end["gradients"]["logits"]["reached"] == STEPS
    assert end["terms"]["distillation"] == {"count": STEPS, "zeros": 0}


def test_the_probe_shuffles_what_each_method_asks_of_the_teacher(lab, tmp_path):
    units = [lab.unit(arm, method=METHODS[arm]) for arm in ("kd", "miniplm")]
    here("probe", lab.trial_job(*units, out=str(tmp_path), student_layers=3))
    for arm, output in (("kd", "logits"), ("miniplm", "likelihoods")):
        folder = tmp_path / arm
        assert json.loads((folder / "probe.json").read_text())["variants"] == ["as-is", "again", output]
        as_is, again, other = (load_file(folder / name / "weights.safetensors") for name in ("as-is", "again", output))
        assert all(torch.equal(as_is[name], again[name]) for name in as_is)
        assert any(not torch.equal(as_is[name], other[name]) for name in as_is)
