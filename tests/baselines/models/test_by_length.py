"""A batch that is read in parts gives the answers and the gradients of the whole one."""

import copy
import inspect

import pytest
import torch

from baselines.methods.heads import run
from baselines.models.build import build
from baselines.models.by_length import COUNTS, in_parts, parts
from baselines.models.fingerprint import fingerprint

ROWS, LENGTH, WIDTH = 16, 60, 256
TASK = {"kind": "text", "labels": ["a", "b"], "vocabulary": 50, "padding": 0, "input_size": 64}
SPEC = {"checkpoint": "", "stem": "", "layers": 2, "width": WIDTH, "heads": 2, "dropout": 0.0}
ARCHITECTURES = ("distilbert", "bert", "roberta", "electra")


def built(architecture: str = "distilbert") -> torch.nn.Module:
    return build(SPEC | {"architecture": architecture}, TASK, seed=0)


@pytest.fixture
def batch() -> dict[str, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(3, LENGTH - 5, (ROWS,), generator=draw)
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    return {"input_ids": torch.randint(5, 50, mask.shape, generator=draw) * mask, "attention_mask": mask}


@pytest.fixture
def lengths_read(monkeypatch) -> list[int]:
    """Of every text that an embedding was asked for, padding and all."""
    seen: list[int] = []
    real = torch.nn.Embedding.forward

    def counted(self, ids):
        if self.num_embeddings == TASK["vocabulary"]:
            seen.extend([ids.shape[1]] * len(ids))
        return real(self, ids)

    monkeypatch.setattr(torch.nn.Embedding, "forward", counted)
    return seen


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_logits_states_and_gradients_are_those_of_the_whole_batch(architecture, batch, lengths_read) -> None:
    found = []
    for model in (built(architecture), in_parts(built(architecture))):
        output = model(**batch, output_hidden_states=True)
        states = [state * batch["attention_mask"][..., None] for state in output.hidden_states]
        (output.logits.square().sum() + states[1].square().mean()).backward()
        found.append([output.logits, *states, *(weight.grad for weight in model.parameters())])
        assert all(state.shape == (ROWS, LENGTH, WIDTH) for state in output.hidden_states)
    for whole, joined in zip(*found, strict=True):
        if whole is not None:  # no gradient reaches the pooler's weights of a model that has no use for it
            torch.testing.assert_close(joined, whole, rtol=1e-3, atol=1e-5)
    assert set(lengths_read[:ROWS]) == {LENGTH} and len(set(lengths_read[ROWS:])) == max(COUNTS)


def test_attentions_are_too(batch) -> None:
    models_ = built(), in_parts(built())
    for model in models_:
        model.set_attn_implementation("eager")
    mask = batch["attention_mask"]
    for whole, joined in zip(*(model(**batch, output_attentions=True).attentions for model in models_), strict=True):
        assert joined.shape == whole.shape
        torch.testing.assert_close(joined * mask[:, None, :, None], whole * mask[:, None, :, None])


def test_what_is_gained_decides_into_how_many_parts() -> None:
    even, mixed = torch.full((32,), 40), torch.arange(9, 41)
    assert [len(parts(lengths, 256)) for lengths in (even, mixed)] == [1, 4]
    assert len(parts(mixed, 16)) == 1  # so little work per token that to begin anew costs more
    assert len(parts(mixed[:1], 256)) == 1
    rows = torch.cat([rows for rows, _ in parts(mixed.flip(0), 256)])
    assert sorted(rows.tolist()) == list(range(32)) and rows[0] == 31


def test_every_part_is_as_long_as_its_longest_text(batch, lengths_read) -> None:
    model, lengths = in_parts(built()), batch["attention_mask"].sum(1)
    model(**batch)
    assert lengths_read == [longest for rows, longest in parts(lengths, WIDTH) for _ in rows]
    assert sum(lengths_read) < 0.8 * ROWS * LENGTH and max(lengths_read) == lengths.max()


def test_text_that_does_not_begin_at_the_left_is_read_whole(batch) -> None:
    turned = {name: value.flip(1) for name, value in batch.items()}
    torch.testing.assert_close(in_parts(built())(**turned).logits, built()(**turned).logits)


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
def test_who_looks_inside_sees_whole_batches(batch, register) -> None:
    model, seen = in_parts(built()), []
    model(**batch, output_hidden_states=True)  # transformers' own hooks stay from now on
    hook = getattr(model.classifier, register)(lambda module, inputs, *output: seen.append(len(inputs[0])))
    model(**batch)
    hook.remove()
    model(**batch)
    assert seen == [ROWS]
    whole, joined = (run(each, batch, [1, 2])[1] for each in (built(), model))
    torch.testing.assert_close(joined[0].queries, whole[0].queries)


def test_inputs_of_other_kinds_are_read_whole(batch, lengths_read) -> None:
    model = in_parts(built("bert"))
    model(**batch, token_type_ids=torch.zeros_like(batch["input_ids"]))
    model(batch["input_ids"])
    model(**batch, return_dict=False)
    assert set(lengths_read) == {LENGTH}


def test_copy_reads_its_own_weights(batch) -> None:
    model = in_parts(built())
    copied = copy.deepcopy(model)
    torch.nn.init.zeros_(copied.classifier.weight)
    assert copied(**batch).logits.unique().numel() == 1 < model(**batch).logits.unique().numel()


def test_model_is_taken_for_what_it_was() -> None:
    plain, model = built(), in_parts(built())
    assert type(model).__name__ == type(plain).__name__ and isinstance(model, type(plain))
    assert inspect.signature(model.forward) == inspect.signature(plain.forward)
    assert fingerprint(model) == fingerprint(plain)
    lstm = build(SPEC | {"architecture": "bilstm"}, TASK, seed=0)
    assert in_parts(lstm) is lstm and type(lstm).__module__ == "baselines.models.bilstm"
