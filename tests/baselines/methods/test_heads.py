"""Queries, keys and values: the ones that a block's attention is really computed from."""

import pytest
import torch
from transformers import RobertaConfig, RobertaForSequenceClassification

from baselines.errors import BaselineError
from baselines.methods.heads import run, scores
from tests.baselines.methods.numeric import assert_half_is_computed_in_fp32


def eager(model):
    model.set_attn_implementation("eager")
    return model


def roberta():
    config = dict(vocab_size=40, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=8)
    return RobertaForSequenceClassification(RobertaConfig(max_position_embeddings=24, **config)).eval()


@pytest.mark.parametrize("family", ["bert", "distilbert", "roberta"])
def test_their_scores_give_the_attention_that_the_model_reports(models, rows, family):
    model = eager(roberta() if family == "roberta" else getattr(models, family)(3))
    batch = rows.inputs_of(rows.collate([rows.text(1)[0], rows.text(1)[0]]))  # none is padded
    with torch.no_grad():
        attentions = model(**batch, output_attentions=True).attentions
        output, blocks = run(model, batch, (1, 3))
    for block, layer in zip(blocks, (1, 3), strict=True):
        assert block.count == 2 and block.values.shape == (2, 10, 16)
        weights = scores(block.queries, block.keys, block.count).softmax(-1)
        torch.testing.assert_close(weights, attentions[layer - 1])
    assert len(output.hidden_states) == 4


def test_no_hook_stays_even_when_the_model_fails(models, rows):
    model, batch = models.bert(3), rows.inputs_of(rows.collate(rows.text(2)))
    model(**batch, output_hidden_states=True)  # transformers leaves its own capture hooks at the first request

    def hooks():
        return sum(len(module._forward_hooks) for module in model.modules())

    before = hooks()
    run(model, batch, (2,))
    with pytest.raises(IndexError):
        run(model, {"input_ids": torch.full((1, 4), 10**6)}, (2,))
    assert hooks() == before


def test_they_carry_a_gradient(models, rows):
    model = models.distilbert(3)
    _, (block,) = run(model, rows.inputs_of(rows.collate(rows.text(2))), (2,))
    scores(block.queries, block.keys, block.count).square().mean().backward()
    reached = [b.attention.q_lin.weight.grad is not None for b in model.distilbert.transformer.layer]
    assert reached == [True, True, False]


def test_images_are_refused_with_methods_for_them(models):
    with pytest.raises(BaselineError, match="resnet has no queries, keys and values") as error:
        run(models.resnet(), {"pixel_values": torch.randn(2, 3, 64, 64)}, (1,))
    assert "attention" in error.value.hint and "dkd" in error.value.hint


def test_scores_of_half_precision_are_computed_in_fp32():
    assert_half_is_computed_in_fp32(lambda q, k: scores(q, k, 2).square().mean(), *torch.randn(2, 1, 3, 4))


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="3 heads do not divide the width 16"):
        scores(torch.zeros(1, 2, 16), torch.zeros(1, 2, 16), 3)
