"""Soft labels from the likeness of classes: what the table must be, and that training rows alone make it."""

import math
import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file, save_file

from baselines.data.rows import Rows
from baselines.errors import BaselineError
from baselines.methods.kd import distillation
from baselines.methods.reffakd import (
    balanced_tau,
    boosted,
    class_distillation,
    class_table,
    drawn,
    similarity,
    soft_labels,
)
from baselines.methods.unsupervised import embeddings, words
from tests.baselines.lab import METHOD, STEPS, sha256, trace
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32, gradient_error
from tests.baselines.methods.trials import BOTH, assert_logged, prepared, trained

SETTINGS = {"samples_per_class": 8, "boost": 0.0225, "tau": 0.0, "alpha": 0.5, "temperature": 2.0}
LABELS = torch.tensor([0, 1, 2, 0, 1, 2, 0, 2])


def likeness(classes=5):
    return similarity(torch.randn(6 * classes, 7), torch.arange(6 * classes) % classes, classes)


def images(count, seed=0):
    """Rows of random images, the brighter the higher the class."""
    draw = np.random.default_rng(seed)
    items = [draw.integers(0, 90, (8, 8, 1), dtype=np.uint8) + np.uint8(60 * (n % 3)) for n in range(count)]
    return Rows("image", items, np.arange(count) % 3, np.arange(count))


def test_similarity_is_symmetric_and_soft_labels_are_probabilities():
    """RA-1."""
    found = likeness()
    assert found.abs().max() <= 1 + 1e-6
    torch.testing.assert_close(found, found.T)
    for tau in (0.01, 0.3, 5.0):
        table = soft_labels(found, tau)
        assert table.min() >= 0
        torch.testing.assert_close(table.sum(dim=-1), torch.ones(5))


def test_each_class_is_most_likely_itself_after_the_boost():
    """RA-2: also where another class was nearer; the boost is never smaller than the published one."""
    confused = torch.tensor([[0.5, 0.9, 0.1], [0.9, 0.6, 0.2], [0.1, 0.2, 0.3]])
    raised = boosted(confused, 0.01)
    assert confused.argmax(dim=-1).tolist() == [1, 0, 2]
    assert raised.argmax(dim=-1).tolist() == soft_labels(raised, 0.05).argmax(dim=-1).tolist() == [0, 1, 2]
    torch.testing.assert_close(raised - confused, 0.4 * torch.eye(3), atol=1e-5, rtol=0)  # no more than it takes
    torch.testing.assert_close(boosted(raised, 0.01) - raised, 0.01 * torch.eye(3), atol=1e-5, rtol=0)


def test_sums_give_what_the_double_loop_gives():
    """RA-3."""
    vectors = torch.randn(len(LABELS), 7, dtype=torch.float64)
    slow = torch.zeros(3, 3, dtype=torch.float64)
    for a in range(3):
        for b in range(3):
            pairs = [
                F.cosine_similarity(vectors[i], vectors[j], dim=0)
                for i in range(len(LABELS))
                for j in range(len(LABELS))
                if i != j and (LABELS[i], LABELS[j]) == (a, b)
            ]
            slow[a, b] = torch.stack(pairs).mean()
    torch.testing.assert_close(similarity(vectors, LABELS, 3), slow)


def test_classes_that_are_all_alike_give_label_smoothing():
    """RA-4; two classes that are equally sure of themselves are never anything else."""
    table = soft_labels(torch.full((4, 4), 0.3) + 0.2 * torch.eye(4), 0.1)
    own = math.exp(2) / (math.exp(2) + 3)
    smoothing = (1 - own) / 3 * 4
    torch.testing.assert_close(table, (1 - smoothing) * torch.eye(4) + smoothing / 4)
    logits, labels = torch.randn(6, 4), torch.tensor([0, 1, 2, 3, 0, 1])
    smoothed = F.cross_entropy(logits, labels, label_smoothing=smoothing)
    entropy = torch.special.entr(table[0]).sum()
    torch.testing.assert_close(class_distillation(logits, labels, table, 1.0), smoothed - entropy)


def test_renamed_classes_rename_the_table():
    """RA-5."""
    vectors, order = torch.randn(len(LABELS), 7), torch.tensor([2, 0, 1])
    renamed = similarity(vectors, order[LABELS], 3)
    torch.testing.assert_close(renamed[order][:, order], similarity(vectors, LABELS, 3))


def test_the_size_of_an_embedding_does_not_matter():
    """RA-6."""
    vectors = torch.randn(len(LABELS), 7)
    scaled = vectors * torch.rand(len(LABELS), 1) * 100
    torch.testing.assert_close(similarity(scaled, LABELS, 3), similarity(vectors, LABELS, 3))


def test_tau_leads_from_the_label_alone_to_no_label_at_all():
    """RA-7, and the default in between: half of each label stays with its class."""
    found = boosted(likeness(), 0.02)
    torch.testing.assert_close(soft_labels(found, 1e-8), torch.eye(5))
    torch.testing.assert_close(soft_labels(found, 1e6), torch.full((5, 5), 0.2))
    assert soft_labels(found, balanced_tau(found)).diagonal().mean().item() == pytest.approx(0.5, abs=1e-4)
    with pytest.raises(ValueError, match="tau must be positive"):
        soft_labels(found, 0.0)


def test_a_row_of_likeness_over_tau_is_a_teachers_logits():
    """Step 5: the loss is vanilla distillation from S_y / τ, where only the student is softened."""
    found, logits, labels = likeness(3), torch.randn(8, 3), LABELS
    vanilla = distillation(logits, (found / 0.1)[labels], 1.0)
    torch.testing.assert_close(class_distillation(logits, labels, soft_labels(found, 0.1), 1.0), vanilla)
    softened = class_distillation(2 * logits, labels, soft_labels(found, 0.1), 2.0)
    torch.testing.assert_close(softened, 4 * vanilla)


def test_rows_without_a_label_add_nothing_but_count_as_rows():
    table, logits = soft_labels(likeness(3), 0.1), torch.randn(8, 3, requires_grad=True)
    labels = LABELS.clone()
    labels[4:] = -100
    loss = class_distillation(logits, labels, table, 2.0)
    torch.testing.assert_close(loss, class_distillation(logits[:4], labels[:4], table, 2.0) / 2)
    assert torch.autograd.grad(loss, logits)[0][4:].abs().max() == 0
    assert class_distillation(logits, torch.full((8,), -100), table, 2.0) == 0


def test_gradient_equals_finite_differences():
    table = soft_labels(likeness(3), 0.1).double()
    labels = torch.tensor([0, 2, -100, 1])
    assert gradient_error(lambda z: class_distillation(z, labels, table, 3.0), torch.randn(4, 3)) < 1e-5


def test_half_precision_is_computed_in_fp32():
    table = soft_labels(likeness(3), 0.1)
    assert_half_is_computed_in_fp32(lambda z: class_distillation(z, LABELS, table, 3.0), torch.randn(8, 3))


def test_a_class_of_one_row_is_itself_and_a_zero_embedding_is_left_out():
    vectors = torch.randn(4, 7)
    found = similarity(vectors, torch.tensor([0, 0, 1, 2]), 3)
    assert found[1, 1] == found[2, 2] == 1 and found.isfinite().all()
    dead = torch.cat([vectors, torch.zeros(1, 7)])
    with pytest.warns(UserWarning, match="1 of 5 embeddings are zero"):
        again = similarity(dead, torch.tensor([0, 0, 1, 2, 1]), 3)
    torch.testing.assert_close(again, found)
    with pytest.raises(BaselineError, match="every embedding of class 1 is zero"), pytest.warns(UserWarning):
        similarity(dead[[0, 1, 4]], torch.tensor([0, 0, 1]), 2)


def test_a_class_without_a_row_and_a_single_class_are_refused():
    with pytest.raises(BaselineError, match="no labelled row of class 3"):
        class_table(images(12), 4, 8, 0.02, 0.1, seed=0)
    with pytest.raises(BaselineError, match="1 class resembles no other"):
        class_table(images(12), 1, 8, 0.02, 0.1, seed=0)
    lonely = Rows("image", images(4).items, np.array([0, 1, 1, 2]), np.arange(4))
    with pytest.warns(UserWarning, match="class 0 has a single row"):
        class_table(lonely, 3, 8, 0.02, 0.1, seed=0)


def test_as_many_rows_of_each_class_are_drawn_as_there_are_and_no_unlabelled_one():
    labels = torch.tensor([0] * 9 + [-100] * 9 + [1] * 3)
    chosen = drawn(labels, 5)
    assert labels[chosen].tolist() == [0] * 5 + [1] * 3 and len(set(chosen.tolist())) == 8


def test_making_the_table_is_seeded_and_moves_nobody_elses_random_numbers():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    tables = [class_table(images(24), 3, 4, 0.02, 0.0, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.rand(4), expected)
    assert torch.equal(tables[0], tables[1]) and not torch.equal(tables[0], tables[2])


def test_an_autoencoder_is_trained_on_clean_images_of_any_size():
    wide = Rows("image", [np.pad(item, ((0, 2), (0, 5), (0, 0))) for item in images(12).items], None, None)
    assert embeddings(images(12), torch.arange(5)).shape == (5, 48)
    assert embeddings(wide, torch.arange(5)).shape == (5, 48 * 2 * 2)


def test_words_that_all_texts_hold_count_nothing_and_rare_ones_bring_texts_together():
    texts = [np.array(text) for text in ([1, 5, 6, 2], [1, 6, 5, 5, 2], [1, 8, 9, 2], [1, 9, 9, 2], [1, 2])]
    found = words(texts, torch.arange(5))
    angles = F.cosine_similarity(found[:, None], found[None], dim=-1)
    assert angles[0, 1] > 0.8 and angles[2, 3] > 0.4 and angles[:2, 2:4].abs().max() < 1e-5
    assert found[4].abs().max() < 1e-6  # nothing but what all hold


def test_the_angles_between_texts_are_those_of_their_tf_idf():
    texts = [np.random.default_rng(n).integers(0, 30, 12) for n in range(6)]
    held = np.bincount(np.concatenate([np.unique(text) for text in texts]), minlength=30).clip(1)
    tf_idf = torch.from_numpy(np.stack([np.bincount(t, minlength=30) for t in texts]) * np.log(6 / held))
    found = words(texts, torch.arange(6)).double()
    torch.testing.assert_close(found @ found.T, tf_idf @ tf_idf.T, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="module", params=BOTH)
def lab(request, tmp_path_factory):
    return prepared(tmp_path_factory.mktemp(request.param), request.param)


@pytest.mark.slow
def test_the_finished_file_trains_on_the_table_of_the_training_rows_alone(lab, tmp_path):
    """RA-8: other transfer rows change nothing."""
    folder = trained(lab, "reffakd", SETTINGS, tmp_path, teacher=False)
    assert_logged(folder, lambda terms: 0.5 * terms["task"] + 0.5 * terms["distillation"], {"task", "distillation"})
    [end] = trace(folder, "end")
    assert end["step"] == STEPS and set(end["reads"]) == set(SETTINGS) and end["teacher"] == {}
    seen = tmp_path / "seen"
    shutil.copytree(lab.data / "seen", seen)
    arrays = load_file(seen / "transfer.safetensors")
    save_file({n: v if n == "lengths" else v[::-1].copy() for n, v in arrays.items()}, seen / "transfer.safetensors")
    again = trained(lab, "reffakd", SETTINGS, tmp_path / "again", job={"seen": str(seen)}, teacher=False)
    assert sha256(again / "weights.safetensors") == sha256(folder / "weights.safetensors")
    plain = trained(lab, "student_only", METHOD, tmp_path)
    assert sha256(plain / "weights.safetensors") != sha256(folder / "weights.safetensors")
