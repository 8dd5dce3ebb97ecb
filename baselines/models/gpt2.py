"""Causal language models: GPT-2 from sizes, and whatever a checkpoint folder has."""

from pathlib import Path

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, PreTrainedModel, set_seed
from transformers.modeling_outputs import CausalLMOutput

from baselines.errors import BaselineError, reason


def build(
    vocabulary: int, context: int, seed: int, width: int = 64, layers: int = 2, heads: int = 2
) -> GPT2LMHeadModel:
    """A GPT-2 from random weights for sequences of at most `context` tokens, without dropout; weights follow from the
    seed alone."""
    set_seed(seed)
    return GPT2LMHeadModel(settings(vocabulary, context, width, layers, heads))


def settings(
    vocabulary: int, context: int, width: int, layers: int, heads: int, dropout: float = 0.0, **names
) -> GPT2Config:
    """Of a GPT-2 of these sizes, which knows no token that begins or ends a text."""
    spread = max(0.02, 0.4 * width**-0.5)  # GPT-2's own 0.02 is meant for width 768: narrow models stall with it
    sizes = {"vocab_size": vocabulary, "n_positions": context, "n_embd": width, "n_layer": layers, "n_head": heads}
    rates = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), dropout)
    return GPT2Config(initializer_range=spread, bos_token_id=None, eos_token_id=None, **sizes, **rates, **names)


class GPT2ForNextTokens(GPT2LMHeadModel):
    """A GPT-2 that is asked what follows at some places of its batch."""

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        places: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> CausalLMOutput:
        """input_ids and attention_mask [B, L], padded on the right; logits [N, C] of the token that follows each of
        the N `places` [B, L], row after row, or [B, L, C] of all."""
        body = self.transformer(
            input_ids=input_ids, attention_mask=attention_mask, output_hidden_states=output_hidden_states
        )
        states = body.last_hidden_state if places is None else body.last_hidden_state[places]
        return CausalLMOutput(logits=self.lm_head(states), hidden_states=body.hidden_states)


def load(folder: Path) -> PreTrainedModel:
    """A causal language model from a checkpoint folder, safetensors only.

    Raises BaselineError for a folder without one, and for a masked language model: the likelihood of a sequence under
    it costs one forward per token.
    """
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    except (OSError, ValueError) as error:
        raise BaselineError(
            f"no causal language model in {folder}: {reason(error)}", "name a GPT-2's folder"
        ) from error
    if not _is_causal(model):
        said = f"{folder} contains a {model.config.model_type}, which is a masked language model"
        raise BaselineError(said, "a causal one is needed, such as GPT-2: it alone gives the likelihood of a sequence")
    return model


def _is_causal(model: PreTrainedModel) -> bool:
    """Whether a later token leaves the logits before it alone."""
    first, second = torch.tensor([[1, 2, 3], [1, 2, 4]])[:, None]
    model.eval()
    with torch.no_grad():
        return torch.allclose(model(first).logits[:, :2], model(second).logits[:, :2], atol=1e-5)
