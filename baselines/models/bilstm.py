"""A bidirectional LSTM that classifies texts: the small student of the generated transfer set (methods/genset.py)."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput


class BiLSTMConfig(PreTrainedConfig):
    """`hidden_size` is the width of the states, half of it from each direction, and of the embedding."""

    model_type = "bilstm"

    vocab_size: int = 30522
    hidden_size: int = 256
    num_hidden_layers: int = 1
    dropout: float = 0.1
    pad_token_id: int | None = 0
    initializer_range: float = 0.02


class BiLSTMForSequenceClassification(PreTrainedModel):
    """Embedding, bidirectional layers over packed sequences, the mean over the text's tokens, a classifier."""

    config_class = BiLSTMConfig

    def __init__(self, config: BiLSTMConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        self.embeddings = nn.Embedding(config.vocab_size, width, padding_idx=config.pad_token_id)
        layers = range(config.num_hidden_layers)
        self.layers = nn.ModuleList(nn.LSTM(width, width // 2, batch_first=True, bidirectional=True) for _ in layers)
        self.dropout = nn.Dropout(config.dropout)
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, output_hidden_states: bool = False
    ) -> SequenceClassifierOutput:
        """input_ids and attention_mask [B, L], padded on the right; hidden states are the embedding and then one [B, L,
        width] per layer, 0 where there is padding."""
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        lengths = mask.sum(dim=1).clamp_min(1)
        states = [self.embeddings(input_ids)]
        for layer in self.layers:
            packed = pack_padded_sequence(self.dropout(states[-1]), lengths.cpu(), True, enforce_sorted=False)
            states.append(pad_packed_sequence(layer(packed)[0], True, total_length=input_ids.shape[1])[0])
        pooled = states[-1].sum(dim=1) / lengths[:, None]
        logits = self.classifier(self.dropout(pooled))
        return SequenceClassifierOutput(logits=logits, hidden_states=tuple(states) if output_hidden_states else None)
