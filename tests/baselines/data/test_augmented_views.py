"""Views of images: what each shows, that rows take turns through them, and that a kept answer is that to the view."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from baselines.data import augmented_views
from baselines.data.collator import Collator, sent
from baselines.data.rows import Rows
from baselines.errors import BaselineError
from baselines.models.inputs import accepted
from baselines.training.cached_teacher import load
from baselines.training.experiment import Experiment
from tests.baselines.lab import Lab, here, report, trace

TASK = {"kind": "image", "input_size": 16, "views": 20, "mirror": True, "mean": [0.0], "std": [1.0]}


def images(count: int) -> torch.Tensor:
    return torch.randint(1, 256, (count, 16, 16, 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def moved(image: np.ndarray, down: int, right: int, mirrored: int) -> np.ndarray:
    """Pixel by pixel: shifted, black behind, then mirrored."""
    height, width = image.shape[:2]
    out = np.zeros_like(image)
    for y in range(height):
        for x in range(width):
            if 0 <= y - down < height and 0 <= x - right < width:
                out[y, x] = image[y - down, x - right]
    return out[:, ::-1] if mirrored else out


@pytest.mark.parametrize("task", [TASK, TASK | {"views": 1}], ids=["in views", "as they are"])
def test_batch_lies_channels_last_in_memory(task: dict) -> None:
    """Convolutions are faster so; a copy on the way to floating point would turn it."""
    rows = rows_of(images(4).repeat(1, 1, 1, 3))
    batch = Collator(task)([rows[place] for place in range(4)])["pixel_values"]
    assert batch.shape[1] == 3 and batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("task", [TASK, TASK | {"views": 1}], ids=["in views", "as they are"])
def test_images_go_to_a_card_as_bytes_and_nothing_waits_for_it(task: dict, monkeypatch) -> None:
    """Torch's device "meta" stands in for the card: to ask it for a number raises an error."""
    gone = list[torch.dtype]()
    monkeypatch.setattr(
        "baselines.data.collator.sent", lambda value, device: gone.append(value.dtype) or sent(value, device)
    )
    batch = Collator(task, device="meta")([rows_of(images(4))[place] for place in range(4)])
    assert batch["pixel_values"].device.type == "meta" and batch["pixel_values"].shape == (4, 1, 16, 16)
    assert gone == [torch.uint8, *([torch.int64] if task["views"] > 1 else [])]
    assert {value.device.type for name, value in batch.items() if name != "pixel_values"} == {"cpu"}


def rows_of(pixels: torch.Tensor) -> Rows:
    return Rows("image", list(pixels.numpy()), np.zeros(len(pixels), np.int64), np.arange(len(pixels)))


def test_each_view_is_shifted_and_mirrored_as_it_says_and_the_first_is_the_image():
    pixels = images(20)
    found = augmented_views.shown(pixels, torch.arange(20), TASK)
    table = augmented_views.drawn(20, 2, True)
    assert table[0].tolist() == [0, 0, 0] and torch.equal(found[0], pixels[0])
    assert set(table[:, 2].tolist()) == {0, 1}
    for view, image in enumerate(pixels.numpy()):
        assert np.array_equal(found[view].numpy(), moved(image, *table[view].tolist()))


def test_views_differ_and_there_are_no_more_than_there_are_shifts():
    assert len({tuple(row) for row in augmented_views.drawn(50, 2, True).tolist()}) == 50
    assert (
        not augmented_views.drawn(25, 2, False)[:, 2].any()
        and augmented_views.drawn(25, 2, False)[:, :2].abs().max() == 2
    )
    with pytest.raises(ValueError, match="shifted by at most 2 pixels has 25 views, not 26"):
        augmented_views.drawn(26, 2, False)


def test_a_row_is_shown_in_its_next_view_each_time_and_the_rows_of_a_batch_in_different_ones():
    rows, collate = rows_of(images(4)), Collator(TASK, view=7, turning=True)
    batches = [collate([rows[2], rows[0], rows[3]]) for _ in range(21)]
    assert [batch["views"].tolist() for batch in batches[:2]] == [[9, 7, 10], [10, 8, 11]]
    assert torch.equal(batches[0]["pixel_values"], batches[20]["pixel_values"])
    assert len({batch["pixel_values"][0].numpy().tobytes() for batch in batches}) == 20
    assert int(collate.shown.sum()) == 20


def test_images_are_shown_as_they_are_to_whoever_does_not_train():
    rows, collate = rows_of(images(3)), Collator(TASK)
    plain = Collator(TASK | {"views": 1})
    for _ in range(2):
        assert torch.equal(collate([rows[0], rows[2]])["pixel_values"], plain([rows[0], rows[2]])["pixel_values"])
    assert "views" not in plain([rows[0]])


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("views"), "image")
    here("prepare", lab.prepare_job(views=5, mirror=False))
    here("teacher", lab.teacher_job())
    return lab


@pytest.mark.slow
def test_a_kept_answer_is_the_teachers_own_to_the_view_that_is_shown(lab, tmp_path):
    model = load(lab.teacher)
    with (tmp_path / "trace").open("w") as stream:
        experiment = Experiment(lab.trial_job(), lab.unit("kd_selective"), 1, tmp_path, stream)
        rows = experiment.train_dataset
        assert len(load_file(lab.teacher / "logits.safetensors")["logits"]) == 5 * (
            len(rows) + len(experiment.transfer_dataset)
        )
        for _ in range(3):
            batch = experiment.collator([rows[place] for place in range(16)])
            with torch.no_grad():
                own = model(**accepted(model, batch), output_hidden_states=True)
            torch.testing.assert_close(batch["teacher_logits"].detach(), own.logits, rtol=1e-4, atol=1e-5)
            [kept] = experiment.teacher.features(batch, layers=(3,))
            torch.testing.assert_close(kept.detach(), own.hidden_states[3], rtol=1e-4, atol=1e-5)
            several = experiment.teacher.several(batch["ids"], 1, batch["views"])
            assert torch.equal(several[0].detach(), batch["teacher_logits"].detach())
        assert experiment.teacher.forwards == 0
    assert set(batch["views"].tolist()) == set(range(5))


@pytest.mark.slow
def test_a_trial_on_views_trains_and_says_how_many_it_saw(lab):
    here("trial", lab.trial_job(lab.unit("kd"), lab.unit("student_only")))
    for arm in ("kd", "student_only"):
        folder = lab.trials / arm / "1"
        assert report(folder)["status"] == "ok", report(folder)["traceback"]
        assert trace(folder, "end")[0]["views"] == 5


def test_texts_have_no_views(tmp_path):
    lab = Lab(tmp_path, "text")
    with pytest.raises(BaselineError, match="own has no images, and only images have views"):
        here("prepare", lab.prepare_job(views=2, mirror=False))
