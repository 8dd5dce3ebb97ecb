"""Small causal language models: padding never counts, and only models that can score a sequence are taken."""

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from baselines.errors import BaselineError
from baselines.methods import causal
from baselines.models import gpt2

SEQUENCES = [[1, 5, 6, 2], [1, 7, 2], [1, 5, 8, 9, 6, 2]]


@pytest.fixture
def model():
    return gpt2.build(vocabulary=12, context=10, seed=0, width=16).eval()


def test_weights_follow_from_the_seed_alone(model):
    again, other = (gpt2.build(12, 10, seed, width=16) for seed in (0, 1))
    assert torch.equal(again.lm_head.weight, model.lm_head.weight)
    assert not torch.equal(other.lm_head.weight, model.lm_head.weight)


def test_padding_adds_nothing_to_the_language_loss(model):
    """GS-2: neither more of it nor another token in its place changes loss or gradient."""
    ids, mask = causal.padded(SEQUENCES)
    more = torch.cat([ids, torch.full((3, 3), 9)], dim=1), torch.cat([mask, torch.zeros(3, 3, dtype=torch.long)], dim=1)
    results = []
    for batch in ((ids, mask), more, causal.padded(SEQUENCES, padding=11)):
        loss = causal.language_loss(model, *batch)
        results.append((loss, torch.autograd.grad(loss, model.transformer.h[0].mlp.c_fc.weight)[0]))
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0])
        torch.testing.assert_close(gradient, results[0][1], rtol=1e-4, atol=1e-6)
    assert (causal.language_loss(model, ids, torch.ones_like(mask)) - results[0][0]).abs() > 1e-3


def test_language_loss_is_the_mean_over_sequences_of_their_means(model):
    alone = [causal.language_loss(model, *causal.padded([sequence])) for sequence in SEQUENCES]
    torch.testing.assert_close(causal.language_loss(model, *causal.padded(SEQUENCES)), sum(alone) / 3)


def test_losses_are_those_of_the_next_token(model):
    ids, mask = causal.padded(SEQUENCES[:1])
    chances = model(input_ids=ids).logits[0].log_softmax(dim=-1)
    by_hand = [-chances[place, token].item() for place, token in enumerate(SEQUENCES[0][1:])]
    assert causal.token_losses(model, ids, mask)[0].tolist() == pytest.approx(by_hand, rel=1e-4)


def test_fitting_learns_and_gives_the_same_model_again():
    made = [causal.fit(gpt2.build(12, 10, 0, width=16), SEQUENCES, steps=60, seed=1) for _ in range(2)]
    loss = causal.language_loss(made[0], *causal.padded(SEQUENCES))
    assert loss < 1 and loss == causal.language_loss(made[1], *causal.padded(SEQUENCES))
    with pytest.raises(FloatingPointError, match="at step"):
        causal.fit(gpt2.build(12, 10, 0, width=16), SEQUENCES, steps=60, seed=1, rate=float("inf"))


def test_a_checkpoint_is_loaded_and_a_masked_language_model_refused(model, tmp_path):
    model.save_pretrained(tmp_path / "gpt")
    batch = causal.padded(SEQUENCES)
    torch.testing.assert_close(
        causal.token_losses(gpt2.load(tmp_path / "gpt"), *batch), causal.token_losses(model, *batch)
    )
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertForMaskedLM(BertConfig(vocab_size=12, **sizes)).save_pretrained(tmp_path / "bert")
    with pytest.raises(BaselineError, match="bert, which is a masked language model"):
        gpt2.load(tmp_path / "bert")
    with pytest.raises(BaselineError, match="no causal language model in"):
        gpt2.load(tmp_path / "nowhere")
