"""Student search: a closed form that is the model's own count, and peers of different sizes near their targets."""

import pytest
import torch
from transformers import DistilBertConfig, ResNetConfig, RobertaConfig, RobertaForMaskedLM

from baselines.errors import BaselineError
from baselines.methods.search import HEADS, LAYERS, WIDTHS, Sizes, peer_sizes, smaller

VOCABULARY, POSITIONS = 16000, 514


@pytest.mark.parametrize("sizes", [Sizes(6, 8, 256, 1024), Sizes(8, 16, 512, 3072), Sizes(20, 32, 1024, 4096)])
def test_the_count_is_that_of_the_model_itself(sizes):
    config = RobertaConfig(
        vocab_size=VOCABULARY,
        max_position_embeddings=POSITIONS,
        type_vocab_size=1,
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.ffn,
    )
    with torch.device("meta"):
        model = RobertaForMaskedLM(config)
    assert sizes.parameters(VOCABULARY, POSITIONS) == sum(p.numel() for p in model.parameters())


def test_peers_come_as_near_to_a_half_a_third_and_so_on_as_any_sizes_do():
    base = 125_000_000
    chosen = peer_sizes(base, 4, VOCABULARY, POSITIONS)
    left = [Sizes(n, h, d, 4 * d) for n in LAYERS for h in HEADS for d in WIDTHS]
    for place, sizes in enumerate(chosen):
        target = base / (place + 2)
        assert abs(sizes.parameters(VOCABULARY, POSITIONS) - target) == min(
            abs(each.parameters(VOCABULARY, POSITIONS) - target) for each in left
        )
        left.remove(sizes)
    assert len(set(chosen)) == 4


def test_of_equally_near_sizes_the_one_with_more_heads_is_taken_and_then_the_next():
    chosen = peer_sizes(10_000_000, 3, VOCABULARY, POSITIONS, layers=(6,), widths=(256,))
    assert [sizes.heads for sizes in chosen] == [32, 16, 8]


def test_the_largest_sizes_can_be_chosen():
    """The published search truncates a float and never reaches the last of an axis."""
    largest = Sizes(20, 32, 2048, 8192).parameters(VOCABULARY, POSITIONS)
    assert peer_sizes(2 * largest, 1, VOCABULARY, POSITIONS) == [Sizes(20, 32, 2048, 8192)]
    assert peer_sizes(2 * largest, 1, VOCABULARY, POSITIONS, ffn=3072)[0].ffn == 3072


def test_heads_divide_the_width_and_too_few_sizes_are_refused():
    assert peer_sizes(1_000_000, 1, 100, 10, layers=(6,), heads=(8, 32), widths=(24,))[0].heads == 8
    with pytest.raises(BaselineError, match="1 different sizes are too few for 2 peers"):
        peer_sizes(1_000_000, 2, 100, 10, layers=(6,), heads=(8, 32), widths=(24,))


@pytest.mark.parametrize(("layers", "width", "heads"), [(6, 768, 12), (3, 40, 2), (2, 64, 4)])
def test_peers_of_a_student_have_two_thirds_a_half_and_less_of_its_parameters(layers, width, heads):
    config = DistilBertConfig(n_layers=layers, dim=width, n_heads=heads, vocab_size=VOCABULARY)
    text = VOCABULARY, config.max_position_embeddings
    own = Sizes(layers, heads, width, 4 * width)
    found = smaller(config, 4)
    assert len({*found, own}) == 4 and {each.heads for each in found} == {heads}
    for place, each in enumerate(found):
        assert each.layers <= layers and each.width <= width and each.width % heads == 0
        assert each.parameters(*text) == pytest.approx(own.parameters(*text) * 2 / (place + 3), rel=0.05)


def test_a_student_that_is_no_transformer_or_too_small_for_its_peers_is_refused():
    with pytest.raises(BaselineError, match="a resnet has no sizes to search") as error:
        smaller(ResNetConfig(), 3)
    assert error.value.hint == "use peer_sizes = same"
    with pytest.raises(BaselineError, match="2 different sizes are too few for 3 peers"):
        smaller(DistilBertConfig(n_layers=1, dim=4, n_heads=2), 3)
