"""Where rows come from, how they are split, and what is refused: real files in every case."""

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from tokenizers import Tokenizer

from baselines.data import tasks
from baselines.data.columns import decode
from baselines.data.examples import DataSource, Examples
from baselines.data.rows import read_rows
from baselines.data.splits import Splits, check, noisy, split
from baselines.errors import BaselineError
from tests.baselines.lab import SIZES, Lab, here, real_data, texts, write_csv, write_images

ALL = {"train_rows": 0, "transfer_rows": 0, "dev_rows": 10, "test_rows": 0}


@pytest.fixture(autouse=True)
def arrow_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("KDAGENT_ARROW_CACHE", str(tmp_path_factory.mktemp("arrow")))


def own(path: Path) -> DataSource:
    return tasks.load({"name": "own", "data": str(path)})


def ag_news(folder: Path) -> DataSource:
    return tasks.load({"name": "ag_news", "data_dir": str(folder)})


def parquet(path: Path, columns: dict, features: Features | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Dataset.from_dict(columns, features=features).to_parquet(path)
    return path


def refusal(load, *arguments) -> str:
    """The refusal as a person reads it: one line that says what, and a hint."""
    with pytest.raises(BaselineError) as caught:
        load(*arguments)
    assert caught.value.hint and "\n" not in caught.value.message + caught.value.hint
    return f"{caught.value.message} → {caught.value.hint}"


def refused_by_check(source: DataSource, sizes: dict = ALL, batch_size: int = 4) -> str:
    return refusal(check, source, split(source, sizes, seed=0), batch_size)


# ── splitting ───────────────────────────────────────────────────────────────────────────────────────────────────────


def pool(count: int = 200, test: int = 30) -> DataSource:
    rows, held_out = texts(count, seed=1), texts(test, seed=2)
    names = ["kitchen", "sea", "sky"]
    examples = [Examples([t for t, _ in part], [names.index(n) for _, n in part]) for part in (rows, held_out)]
    return DataSource("text", names, *examples, "made here")


def parts(splits: Splits) -> list[Examples]:
    return [splits.train, splits.transfer, splits.dev, splits.test]


def test_splits_share_no_row_and_have_the_sizes_asked_for():
    splits = split(pool(), SIZES, seed=0)
    assert [len(part) for part in parts(splits)] == [32, 64, 18, 24]
    inputs = [text for part in parts(splits) for text in part.inputs]
    assert len(set(inputs)) == len(inputs)


def test_every_split_has_the_class_shares_of_the_pool():
    rare = pool(300)
    rare = DataSource("text", rare.names, rare.pool.take(range(0, 300, 3)), rare.test, "")
    common = Examples([f"plain {n}" for n in range(200)], [2] * 200)
    mixed = Examples(rare.pool.inputs + common.inputs, rare.pool.labels + common.labels)
    splits = split(DataSource("text", rare.names, mixed, rare.test, ""), SIZES, seed=3)
    for part in parts(splits)[:3]:
        assert abs(Counter(part.labels)[0] - len(part) / 3) <= 1.5


def test_splits_follow_from_the_seed_alone():
    first, again, other = (split(pool(), SIZES, seed) for seed in (0, 0, 1))
    assert first.hash() == again.hash() != other.hash()
    assert first.train.inputs != other.train.inputs


def test_hash_notices_one_label_and_one_letter():
    splits = split(pool(), SIZES, seed=0)
    before = splits.hash()
    splits.dev.labels[0] = 2 - splits.dev.labels[0] // 2
    assert splits.hash() != before
    other = split(pool(), SIZES, seed=0)
    other.transfer.inputs[3] += "."
    assert other.hash() not in (before, splits.hash())


def test_zero_rows_mean_all_for_training_and_test_and_none_for_transfer():
    splits = split(pool(), ALL, seed=0)
    assert [len(part) for part in parts(splits)] == [190, 0, 10, 30]


def test_label_noise_puts_the_share_asked_for_to_another_class_and_says_so():
    clean = split(pool(), SIZES, seed=0)
    wrong, again = (noisy(clean, 0.25, 3, seed=0) for _ in range(2))
    pairs = list(zip(clean.train.labels, wrong.train.labels, strict=True))
    assert sum(before != after for before, after in pairs) == 8
    assert {after for _, after in pairs} == {0, 1, 2}
    assert wrong.train.labels == again.train.labels != noisy(clean, 0.25, 3, seed=1).train.labels
    assert (wrong.transfer, wrong.dev, wrong.test) == (clean.transfer, clean.dev, clean.test)
    assert "8 of the 32 training labels were changed to a different class" in wrong.notes[-1]
    assert noisy(clean, 0.0, 3, seed=0) is clean


def test_rows_equal_to_a_test_row_or_to_another_row_are_left_out_and_counted():
    source = pool()
    test_row, pool_row = source.test.inputs[0], source.pool.inputs[5]
    added = [test_row, f"  {test_row.upper()} ", pool_row.replace(" ", "  ")]
    crowded = Examples(source.pool.inputs + added, [*source.pool.labels, 0, 1, 2])
    splits = split(DataSource("text", source.names, crowded, source.test, ""), ALL, seed=0)
    assert len(splits.train) + len(splits.dev) == 200
    assert not {test_row, *added} & set(splits.train.inputs + splits.dev.inputs)
    assert splits.notes == ["3 training rows left out: equal to a test row or to another training row"]


def test_missing_rows_are_noted_and_dev_takes_a_quarter_at_most():
    splits = split(pool(40, 9), SIZES, seed=0)
    assert [len(part) for part in parts(splits)] == [30, 0, 10, 9]
    assert [note.split(":")[0] for note in splits.notes] == [
        "10 dev rows",
        "30 labelled training rows",
        "0 transfer rows",
        "9 test rows",
    ]


# ── what cannot carry an experiment ─────────────────────────────────────────────────────────────────────────────────


def test_rows_of_one_class_are_refused():
    source = pool()
    same = DataSource("text", source.names, source.pool.take(range(1, 60, 3)), source.test, "folder: x")
    assert "folder: x: every training row has the label 'sea' → two classes" in refused_by_check(same)


def test_no_rows_are_refused():
    source = pool()
    empty = DataSource("text", source.names, source.pool.take([]), source.test, "folder: x")
    assert "folder: x: no training rows" in refused_by_check(empty)
    no_test = DataSource("text", source.names, source.pool, source.test.take([]), "folder: x")
    assert "folder: x: no test rows" in refused_by_check(no_test)


def test_fewer_rows_than_a_batch_are_refused():
    assert "190 training rows are fewer than one batch of 191 → give more rows" in refused_by_check(
        pool(), batch_size=191
    )


def test_class_without_a_labelled_row_is_refused_by_name():
    few = ALL | {"train_rows": 2, "transfer_rows": 100}
    assert "no labelled training row of class" in refused_by_check(pool(), few)


def test_enough_rows_pass():
    source = pool()
    check(source, split(source, SIZES, seed=0), batch_size=16)


# ── files ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_csv_with_its_own_test_file(tmp_path):
    write_csv(tmp_path / "train.csv", texts(12, 1))
    write_csv(tmp_path / "test.csv", texts(6, 2))
    source = own(tmp_path)
    assert (source.kind, source.names, source.notes) == ("text", ["kitchen", "sea", "sky"], [])
    assert [source.names[label] for label in source.pool.labels] == [name for _, name in texts(12, 1)]
    assert source.test.inputs == [text for text, _ in texts(6, 2)]
    assert source.source.startswith("folder: 2 csv ")


def test_single_file_gives_a_test_split_that_is_carved_out_and_noted(tmp_path):
    source = own(write_csv(tmp_path / "reviews.csv", texts(60, 1), header=("sentence", "class")))
    assert (len(source.pool), len(source.test)) == (48, 12)
    assert Counter(source.test.labels) == {0: 4, 1: 4, 2: 4}
    assert source.notes == ["no test split in the source: 12 of its 60 rows are held out as test rows"]
    assert not set(source.pool.inputs) & set(source.test.inputs)


def test_validation_file_in_the_place_of_a_test_file_is_noted(tmp_path):
    write_csv(tmp_path / "train.csv", texts(12, 1))
    write_csv(tmp_path / "validation.csv", texts(6, 2))
    source = own(tmp_path)
    assert len(source.test) == 6
    assert source.notes == ["no test file in the source: the rows of validation.csv are the test rows"]


def test_test_rows_never_stand_in_for_training_rows(tmp_path):
    write_csv(tmp_path / "rows.csv", texts(12, 1))
    write_csv(tmp_path / "test.csv", texts(6, 2))
    assert len(own(tmp_path).pool) == 12
    (tmp_path / "rows.csv").unlink()
    assert "has neither train*.parquet nor train*.csv" in refusal(own, tmp_path)


def test_source_changes_with_the_content_and_not_with_the_place(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        write_csv(tmp_path / name / "train.csv", texts(12, seed))
    a, b, c = (own(tmp_path / name).source for name in "abc")
    assert a == b != c


def test_image_folder_takes_its_classes_from_the_folders(tmp_path):
    write_images(tmp_path / "train", 5)
    write_images(tmp_path / "test", 2, seed=1)
    (tmp_path / "train" / ".thumbnails").mkdir()
    source = own(tmp_path)
    assert (source.kind, source.names) == ("image", ["dark", "light"])
    assert source.pool.labels == [0] * 5 + [1] * 5 and source.test.labels == [0, 0, 1, 1]
    assert source.pool.inputs[0].shape == (8, 10, 3) and source.pool.inputs[0].dtype == np.uint8
    assert source.pool.inputs[0].mean() < 100 < source.pool.inputs[9].mean()


def test_image_folder_without_test_images_is_carved(tmp_path):
    source = own(write_images(tmp_path / "own", 10))
    assert (len(source.pool), len(source.test)) == (16, 4)
    assert source.notes == ["no test split in the source: 4 of its 20 rows are held out as test rows"]


def test_image_folder_with_a_class_of_the_test_alone_is_refused(tmp_path):
    write_images(tmp_path / "train", 2)
    write_images(tmp_path / "test", 2, classes=("dark", "zebra"))
    assert "no training image is of class zebra" in refusal(own, tmp_path)


def test_embedded_digits_hold_each_image_once():
    splits = split(tasks.load({"name": "digits"}), ALL, seed=0)
    assert (len(splits.train), len(splits.dev), len(splits.test)) == (1287, 10, 500)
    assert splits.notes == [] and {pixels.shape for pixels in splits.test.inputs} == {(8, 8, 1)}


# ── labels ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def labelled(path: Path, labels: list, feature=None) -> DataSource:
    features = Features({"text": Value("string"), "label": feature}) if feature else None
    columns = {"text": [f"text {n}" for n in range(len(labels))], "label": labels}
    return own(parquet(path / "train.parquet", columns, features))


def names(source: DataSource) -> list[str]:
    """The label names of all rows in the order of the file."""
    rows = dict(zip(source.pool.inputs + source.test.inputs, source.pool.labels + source.test.labels, strict=True))
    return [source.names[rows[f"text {n}"]] for n in range(len(rows))]


def test_declared_names_are_used_even_when_they_look_like_other_numbers(tmp_path):
    source = labelled(tmp_path, [0, 1, 1, 0, 2], ClassLabel(names=["2", "0", "1"]))
    assert source.names == ["2", "0", "1"] and names(source) == ["2", "0", "0", "2", "1"]


def test_texts_are_sorted_into_names(tmp_path):
    source = labelled(tmp_path, ["spam", "ham", "spam", "eggs", "ham"])
    assert source.names == ["eggs", "ham", "spam"] and names(source) == ["spam", "ham", "spam", "eggs", "ham"]


def test_integers_name_themselves_in_the_order_of_numbers(tmp_path):
    source = labelled(tmp_path, [10, 9, 100, 9, 10])
    assert source.names == ["9", "10", "100"] and names(source) == ["10", "9", "100", "9", "10"]


def test_integers_of_a_known_task_are_its_classes(tmp_path):
    parquet(tmp_path / "train.parquet", {"text": list("abcdef"), "label": [0, 1, 2, 3, 0, 1]})
    parquet(tmp_path / "test.parquet", {"text": list("gh"), "label": ["Sports", "World"]})
    source = ag_news(tmp_path)
    assert source.pool.labels == [0, 1, 2, 3, 0, 1] and source.test.labels == [1, 0]


def test_declared_names_in_another_order_are_matched_by_name(tmp_path):
    feature = ClassLabel(names=["Sports", "World", "Sci/Tech", "Business"])
    features = Features({"text": Value("string"), "label": feature})
    parquet(tmp_path / "train.parquet", {"text": list("abcd"), "label": [0, 1, 2, 3]}, features)
    parquet(tmp_path / "test.parquet", {"text": list("ef"), "label": [0, 3]})
    source = ag_news(tmp_path)
    assert source.pool.labels == [1, 0, 3, 2] and source.test.labels == [0, 3]


def test_label_out_of_range_is_refused_with_row_and_value(tmp_path):
    parquet(tmp_path / "train.parquet", {"text": list("abc"), "label": [0, 4, 1]})
    said = refusal(ag_news, tmp_path)
    assert (
        "ag_news: row 1 of column 'label' has the label 4 → the classes are World, Sports, Business, Sci/Tech" in said
    )


def test_test_label_that_no_training_row_has_is_refused(tmp_path):
    write_csv(tmp_path / "train.csv", texts(12, 1))
    write_csv(tmp_path / "test.csv", [("far away", "desert")])
    assert "own test: row 0 of column 'label' has the label 'desert'" in refusal(own, tmp_path)


def test_missing_label_is_refused_and_no_class_of_its_own(tmp_path):
    said = refusal(labelled, tmp_path, ["spam", None, "ham"])
    assert "row 1 of column 'label' has the label None → the classes are ham, spam" in said


def test_scores_are_no_classes_and_the_nearest_that_is_possible_is_named(tmp_path):
    said = refusal(labelled, tmp_path, [0.5, 3.25, 1.0])
    assert "has scores, 0.5 among them" in said and "→ cut the scores into ranges" in said


def test_whole_numbers_written_with_a_point_are_classes(tmp_path):
    assert labelled(tmp_path, [1.0, 2.0, 1.0]).names == ["1.0", "2.0"]


# ── unusable files ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_missing_folder_is_named(tmp_path):
    assert str(tmp_path / "none") in refusal(own, tmp_path / "none")
    assert str(tmp_path / "none") in refusal(ag_news, tmp_path / "none")


def test_empty_folder_is_named(tmp_path):
    assert f"{tmp_path} has neither train*.parquet nor train*.csv" in refusal(own, tmp_path)
    assert f"{tmp_path} has neither a folder 'ag_news' nor a train file" in refusal(ag_news, tmp_path)


def test_wrong_columns_are_named_beside_the_right_ones(tmp_path):
    path = write_csv(tmp_path / "train.csv", texts(9, 1), header=("words", "label"))
    assert "own: no column text or sentence or content (the file has words, label)" in refusal(own, path)
    path = write_csv(tmp_path / "train.csv", texts(9, 1), header=("text", "topic"))
    assert "own: no column label or labels or class or target (the file has text, topic)" in refusal(own, path)


def test_test_file_with_other_columns_is_refused(tmp_path):
    write_csv(tmp_path / "train.csv", texts(12, 1))
    write_csv(tmp_path / "test.csv", texts(6, 2), header=("sentence", "label"))
    assert "own test: no column text (the file has sentence, label)" in refusal(own, tmp_path)


def test_truncated_parquet_is_named(tmp_path):
    path = parquet(tmp_path / "cut" / "train.parquet", {"text": list("abcd") * 99, "label": [0, 1, 0, 1] * 99})
    path.write_bytes(path.read_bytes()[:-200])
    assert "cannot read cut/train.parquet: " in refusal(own, path.parent)


def test_file_in_another_encoding_is_named(tmp_path):
    path = tmp_path / "latin" / "train.csv"
    path.parent.mkdir()
    path.write_bytes("text,label\nna\u00efve caf\u00e9,a\n".encode("latin-1"))
    assert "cannot read latin/train.csv: " in refusal(own, path)


def test_row_without_text_is_named(tmp_path):
    rows = texts(9, 1)
    rows[4] = ("", "sea")
    assert "own: row 4 of column 'text' is not text" in refusal(own, write_csv(tmp_path / "train.csv", rows))


def images(path: Path, values: list) -> Path:
    table = pa.table({"image": pa.array([{"bytes": v, "path": None} if v else None for v in values])})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.append_column("label", pa.array([n % 2 for n in range(len(values))])), path)
    return path


def test_bytes_that_are_no_image_are_shown(tmp_path):
    source = own(images(tmp_path / "train.parquet", [b"<html>not found</html>"] * 10))
    assert source.kind == "image"
    said = refusal(decode, source.pool.inputs[0], "own")
    assert "own: not a complete image: 22 bytes that begin with b'<html>no'" in said


def test_truncated_image_is_refused(tmp_path):
    file = write_images(tmp_path / "own", 1) / "dark" / "000.png"
    whole = file.read_bytes()
    assert decode(whole, "own").shape == (8, 10, 3)
    for length in (20, len(whole) // 2, len(whole) - 30):
        assert f"{length} bytes that begin with" in refusal(decode, whole[:length], "own")


def test_file_that_is_no_image_is_named_in_an_image_folder(tmp_path):
    (write_images(tmp_path / "own", 3) / "dark" / "notes.txt").write_text("hello")
    assert f"not a complete image: {tmp_path}/own/dark/notes.txt" in refusal(own, tmp_path / "own")


def test_empty_image_cell_is_named(tmp_path):
    assert "own: row 1 of column 'image' is empty" in refusal(own, images(tmp_path / "train.parquet", [b"x", None]))


def test_image_column_of_numbers_is_refused(tmp_path):
    path = parquet(tmp_path / "train.parquet", {"image": [1, 2, 3], "label": [0, 1, 0]})
    assert "own: column 'image' does not contain images" in refusal(own, path)


# ── pairs, and the tasks of GLUE ────────────────────────────────────────────────────────────────────────────────────


def test_two_texts_of_a_pair_become_one_with_a_mark_between(tmp_path):
    rows = {"sentence1": ["a dog", "rain"], "sentence2": ["an animal", "the sun"], "label": [0, 1]}
    parquet(tmp_path / "rte" / "train.parquet", rows)
    parquet(tmp_path / "rte" / "validation.parquet", rows)
    source = tasks.load({"name": "rte", "data_dir": str(tmp_path)})
    assert source.test.inputs == ["a dog [SEP] an animal", "rain [SEP] the sun"]
    assert source.names == ["entailment", "not_entailment"] and source.test.labels == [0, 1]


def test_own_task_of_pairs_is_found_by_its_columns(tmp_path):
    rows = {"premise": ["p"] * 10, "hypothesis": [f"h{n}" for n in range(10)], "label": ["yes", "no"] * 5}
    assert own(parquet(tmp_path / "train.parquet", rows)).pool.inputs[0].startswith("p [SEP] h")


def test_source_of_evaluation_rows_alone_has_its_test_rows_carved_out(tmp_path):
    rows = {"question": [f"q{n}" for n in range(20)], "sentence": ["s"] * 20, "label": [0, 1] * 10}
    parquet(tmp_path / "qnli" / "validation.parquet", rows)
    source = tasks.load({"name": "qnli", "data_dir": str(tmp_path)})
    assert (len(source.pool), len(source.test)) == (16, 4)
    assert any("held out as test rows" in note for note in source.notes)


def test_rows_without_a_gold_label_are_left_out_and_counted(tmp_path):
    rows = {"premise": ["p"] * 4, "hypothesis": [f"h{n}" for n in range(4)], "label": [0, -1, 1, 2]}
    parquet(tmp_path / "snli" / "train.parquet", rows)
    parquet(tmp_path / "snli" / "test.parquet", rows)
    source = tasks.load({"name": "snli", "data_dir": str(tmp_path)})
    assert (len(source.pool), source.pool.labels) == (3, [0, 1, 2])
    assert "1 rows of snli left out: they have no label" in source.notes


def test_minus_one_is_a_class_of_an_own_task_like_any_other(tmp_path):
    source = own(parquet(tmp_path / "train.parquet", {"text": [f"t{n}" for n in range(10)], "label": [-1, 1] * 5}))
    assert source.names == ["-1", "1"] and set(source.pool.labels) == {0, 1}
    assert not [note for note in source.notes if "no label" in note]


def test_pair_is_encoded_with_its_own_mark_between(tmp_path):
    rows = {"premise": [f"one dog {n}" for n in range(40)], "hypothesis": ["an animal"] * 40, "label": [0, 1] * 20}
    path = parquet(tmp_path / "train.parquet", rows)
    lab = Lab(tmp_path / "lab", "text")
    here("prepare", lab.prepare_job(task={"name": "own", "data": str(path)}, sizes=ALL | {"train_rows": 20}))
    tokenizer = Tokenizer.from_file(str(lab.data / "seen" / "tokenizer.json"))
    marks = [
        item.tolist().count(tokenizer.token_to_id("[SEP]"))
        for item in read_rows(lab.data / "seen/train.safetensors", "text").items
    ]
    assert set(marks) == {2}  # between the two texts, and at the end


# ── real data ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_real_ag_news_notes_that_it_is_not_whole():
    source = ag_news(real_data("ag_news"))
    assert source.names == ["World", "Sports", "Business", "Sci/Tech"]
    assert any("holds 54,531 of the 120,000 published training rows" in note for note in source.notes)
    assert sorted(set(source.pool.labels)) == [0, 1, 2, 3] == sorted(set(source.test.labels))


@pytest.mark.parametrize(
    ("name", "pool", "test"),
    [
        ("sst2", 67_349, 1_821),
        ("rte", 2_490, 277),
        ("mrpc", 3_668, 1_725),
        ("qnli", 4_371, 1_092),
        ("snli", 9_842, 9_824),
    ],
)
def test_real_glue_tasks_hold_the_rows_that_are_published(name, pool, test):
    source = tasks.load({"name": name, "data_dir": str(real_data(name))})
    assert (len(source.pool), len(source.test)) == (pool, test)
    assert set(source.pool.labels) == set(source.test.labels) == set(range(len(source.names)))


def test_real_cifar10_decodes():
    source = tasks.load({"name": "cifar10", "data_dir": str(real_data("cifar10"))})
    assert source.names[:3] == ["airplane", "automobile", "bird"]
    shapes = {decode(value, "cifar10").shape for value in source.pool.inputs[::500]}
    assert shapes == {(32, 32, 3)}


def test_overlap_is_counted_on_the_splits_themselves():
    rows = Examples(["one row", "another row"], [0, 1])
    clean = Splits(rows, rows.take([]), rows.take([]), Examples(["a test row"], [0]), [])
    leaky = Splits(rows, rows, rows.take([]), Examples(["ONE  row"], [0]), [])
    assert (clean.overlap(), leaky.overlap()) == (0, 2)
