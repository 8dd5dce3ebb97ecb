"""Whatever depends on a model's family asks the table, and an unknown family is refused by its name."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from baselines.errors import BaselineError
from baselines.methods.critical import critical_layers
from baselines.methods.heads import run
from baselines.methods.initialise import init_from_teacher
from baselines.methods.search import smaller
from baselines.methods.selective import features
from baselines.models.build import SIZES, _cifar_stem, build, finished, from_config, refuse_foreign
from baselines.models.by_length import in_parts
from baselines.models.compiled import compiled
from baselines.models.families import a_or_an, families, family, model_class
from baselines.models.layers import blocks, spatial, taps, widths
from tests.baselines.lab import SPEC

TASK = {"kind": "text", "labels": ["a", "b"], "vocabulary": 40, "padding": 0, "input_size": 12}
IMAGE = {"kind": "image", "labels": ["a", "b"], "channels": 3, "input_size": 32}
LANGUAGE = TASK | {"kind": "language", "labels": [str(token) for token in range(40)]}
TASKS = {"text": TASK, "image": IMAGE, "language": LANGUAGE}
STRANGE = SPEC | {"architecture": "gpt5"}


class Strange(nn.Linear):
    """A model of a family without a row."""

    config = SimpleNamespace(model_type="gpt5", num_hidden_layers=3, hidden_size=2, num_attention_heads=2)


def strange() -> Strange:
    return Strange(2, 2)


PLACES: dict[str, Callable[[Path], object]] = {
    "build": lambda folder: build(STRANGE, TASK, seed=0),
    "build, a checkpoint": lambda folder: build(STRANGE | {"checkpoint": str(folder)}, TASK, seed=0),
    "finished": lambda folder: finished(STRANGE, LANGUAGE),
    "from_config": lambda folder: from_config(folder, STRANGE),
    "refuse_foreign": lambda folder: refuse_foreign(STRANGE, "text"),
    "taps": lambda folder: taps(strange()),
    "widths": lambda folder: widths(strange()),
    "spatial": lambda folder: spatial(strange()),
    "features": lambda folder: features(strange(), (), (1,)),
    "blocks": lambda folder: blocks(strange()),
    "critical_layers": lambda folder: critical_layers(strange(), [{"input": torch.ones(1, 2)}], 1),
    "heads": lambda folder: run(strange(), {}, (1,)),
    "init_from_teacher": lambda folder: init_from_teacher(strange(), strange(), "last"),
    "smaller peers": lambda folder: smaller(Strange.config, 2),
    "compiled": lambda folder: compiled(strange()),
    "in_parts": lambda folder: in_parts(strange()),
}


@pytest.mark.parametrize("place", PLACES)
def test_an_unknown_family_is_refused_by_name_wherever_one_is_asked_for(
    place: str, tmp_path: Path, monkeypatch
) -> None:
    if place == "critical_layers":
        monkeypatch.setattr("baselines.methods.critical._loss", lambda model, batches: 0.0)
    with pytest.raises(BaselineError, match="unknown family of models 'gpt5': known are bert, ") as error:
        PLACES[place](tmp_path)
    assert all(name in error.value.message for name in families()) and "families.toml" in error.value.hint


def spec(name: str) -> dict:
    sizes = {"blocks": [1, 1, 1]} if name == "resnet" else {"layers": 4, "width": 0.35} if name == "mobilenetv2" else {}
    return SPEC | {"architecture": name} | sizes


@pytest.mark.parametrize("name", families())
def test_a_row_is_true_of_the_model_that_is_built_from_it(name: str) -> None:
    row = family(name)
    model = build(spec(name), TASKS[row.kind], seed=0).eval()
    assert type(model) is model_class(row) and model.config.model_type == row.model_type
    assert isinstance(model.get_submodule(row.head), nn.Linear) and {*row.sizes} <= {*SIZES}
    inputs = (
        {"pixel_values": torch.rand(2, 3, 32, 32)} if row.kind == "image" else {"input_ids": torch.ones(2, 5).long()}
    )
    with torch.no_grad():
        states = model(**inputs, output_hidden_states=True).hidden_states
    ends = [states[tap] for tap in taps(model)]
    assert {state.dim() for state in ends} == {4 if row.layout == "map" else 3} and spatial(model) == (
        row.layout == "map"
    )
    assert widths(model) == tuple(state.shape[1 if row.layout == "map" else 2] for state in ends)
    if row.blocks:
        assert len(blocks(model)) == len(ends)
        assert all(isinstance(blocks(model)[0].get_submodule(part), nn.Module) for part in row.parts.values())
    assert all(hasattr(model.config, field) for field in row.shape.values())


@pytest.mark.parametrize("name", [name for name, row in families().items() if row.starts_from])
def test_a_student_starts_from_every_family_that_its_row_names(name: str) -> None:
    for other in family(name).starts_from:
        student, teacher = build(spec(name), TASK, seed=0), build(spec(other) | {"layers": 4}, TASK, seed=1)
        init_from_teacher(student, teacher, "last")
        ours, theirs = family(name).parts, family(other).parts
        for part in ours:
            copied, source = (
                blocks(student)[0].get_submodule(ours[part]),
                blocks(teacher)[1].get_submodule(theirs[part]),
            )
            assert all(torch.equal(copied.state_dict()[key], value) for key, value in source.state_dict().items())
        words = [model.get_input_embeddings().weight for model in (student, teacher)]
        assert torch.equal(*words)


@pytest.mark.parametrize("name", [name for name, row in families().items() if not row.stem])
def test_a_stem_for_what_has_none_is_refused(name: str) -> None:
    with pytest.raises(BaselineError, match=f"{a_or_an(name)} has no stem"):
        _cifar_stem(nn.Linear(1, 1), family(name))


@pytest.mark.parametrize(("name", "kind"), [("resnet", "text"), ("bert", "image"), ("mobilenetv2", "language")])
def test_a_family_for_other_rows_is_refused_with_those_that_are_for_them(name: str, kind: str) -> None:
    with pytest.raises(BaselineError, match=f"a {name} is not for rows of the kind {kind}") as error:
        refuse_foreign(spec(name), kind)
    assert any(other in error.value.hint for other, row in families().items() if row.kind == kind)
