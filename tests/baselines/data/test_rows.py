"""Rows on disk and in a batch."""

import tracemalloc

import numpy as np
import pytest
import torch

from baselines.data.collator import Collator
from baselines.data.rows import NO_LABEL, read_rows, write_inputs

TEXT = {"kind": "text", "padding": 7}
IMAGE = {"kind": "image", "mean": [0.5], "std": [0.25]}


def tokens(*lengths: int) -> list[np.ndarray]:
    return [np.arange(100, 100 + length, dtype=np.int32) for length in lengths]


def write_and_read(path, kind, items, labels=None, **options):
    write_inputs(path, kind, items, labels)
    return read_rows(path, kind, **options)


def test_texts_of_any_length_come_back(tmp_path):
    rows = write_and_read(tmp_path / "rows", "text", tokens(3, 0, 5), np.array([2, 0, 1]), first_id=10)
    assert [item.tolist() for item in rows.items] == [[100, 101, 102], [], [100, 101, 102, 103, 104]]
    assert (rows.labels.tolist(), rows.ids.tolist()) == ([2, 0, 1], [10, 11, 12])


def test_images_come_back(tmp_path):
    images = [np.full((4, 4, 3), value, dtype=np.uint8) for value in (0, 255)]
    rows = write_and_read(tmp_path / "rows", "image", images, np.array([1, 0]))
    assert all(np.array_equal(*pair) for pair in zip(rows.items, images, strict=True))


def test_rows_written_without_labels_have_none(tmp_path):
    rows = write_and_read(tmp_path / "rows", "text", tokens(2, 2))
    assert rows.labels.tolist() == [NO_LABEL, NO_LABEL]


def test_given_labels_stand_in_for_those_that_are_not_in_the_file(tmp_path):
    write_inputs(tmp_path / "rows", "text", tokens(2, 2), None)
    assert read_rows(tmp_path / "rows", "text", labels=np.array([4, 5])).labels.tolist() == [4, 5]


def test_no_rows_are_rows_too(tmp_path):
    for kind in ("text", "image"):
        rows = write_and_read(tmp_path / kind, kind, [])
        other = write_and_read(
            tmp_path / f"{kind}1", kind, tokens(2) if kind == "text" else [np.zeros((1, 1, 1), "u1")]
        )
        assert (len(rows), len(rows + other), len(other + rows)) == (0, 1, 1)


def test_sum_keeps_ids_labels_and_order(tmp_path):
    first = write_and_read(tmp_path / "a", "text", tokens(1, 2), np.array([0, 1]))
    both = first + write_and_read(tmp_path / "b", "text", tokens(3), first_id=2)
    assert [int(both[place]["ids"]) for place in range(3)] == [0, 1, 2]
    assert [int(both[place]["labels"]) for place in range(3)] == [0, 1, NO_LABEL]
    assert [len(both[place]["input_ids"]) for place in range(3)] == [1, 2, 3]


def test_items_of_a_sum_are_found_from_either_end_and_lie_where_the_file_does(tmp_path):
    parts = [write_and_read(tmp_path / str(sum(own)), "text", tokens(*own)) for own in ((1, 2), (), (4,))]
    items = (parts[0] + parts[1] + parts[2]).items
    assert [len(item) for item in items] == [len(items[place]) for place in (-3, -2, -1)] == [1, 2, 4]
    assert all(np.shares_memory(item, part.items.tokens) for part in parts for item in part.items)
    assert np.shares_memory(items[2], parts[2].items.tokens)
    for place in (3, -4):
        with pytest.raises(IndexError):
            items[place]


def test_row_that_nobody_asks_for_costs_less_than_its_tokens(tmp_path):
    count, length = 20_000, 20
    write_inputs(tmp_path / "rows", "text", tokens(*[length] * count), None)
    tracemalloc.start()
    rows = read_rows(tmp_path / "rows", "text") + read_rows(tmp_path / "rows", "text", first_id=count)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(rows) == 2 * count and taken / len(rows) < 4 * length


def test_texts_are_padded_to_the_longest_of_the_batch_and_masked(tmp_path):
    rows = write_and_read(tmp_path / "rows", "text", tokens(3, 1))
    batch = Collator(TEXT)([rows[0], rows[1]])
    assert batch["input_ids"].tolist() == [[100, 101, 102], [100, 7, 7]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]


def test_images_are_channels_first_and_normalised(tmp_path):
    image = np.array([[[0], [255]], [[51], [102]], [[0], [0]]], dtype=np.uint8)
    rows = write_and_read(tmp_path / "rows", "image", [image, image])
    pixels = Collator(IMAGE)([rows[0], rows[1]])["pixel_values"]
    assert pixels.shape == (2, 1, 3, 2)
    torch.testing.assert_close(pixels[1, 0], torch.tensor([[-2.0, 2.0], [-1.2, -0.4], [-2.0, -2.0]]))


def test_teacher_logits_are_joined_by_the_id_of_the_row(tmp_path):
    rows = write_and_read(tmp_path / "rows", "text", tokens(2, 2, 2), first_id=1)
    logits = torch.arange(8.0).view(4, 2)
    batch = Collator(TEXT, lambda batch: logits[batch["ids"]])([rows[2], rows[0]])
    assert batch["ids"].tolist() == [3, 1]
    assert batch["teacher_logits"].tolist() == [[6, 7], [2, 3]]
    assert "teacher_logits" not in Collator(TEXT)([rows[0]])
