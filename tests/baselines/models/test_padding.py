"""MobileNetV2 whose convolutions pad for themselves computes what the library's own does, with fewer copies."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

from baselines.models.build import build
from baselines.models.fingerprint import fingerprint
from baselines.models.padding import by_convolutions
from tests.baselines.lab import SPEC

CONFIG = {"depth_multiplier": 0.35, "num_labels": 10, "image_size": 32, "classifier_dropout_prob": 0.0}
IMAGE = {"kind": "image", "labels": list("0123456789"), "input_size": 32, "channels": 3}


def library(**own) -> nn.Module:
    torch.manual_seed(0)
    return MobileNetV2ForImageClassification(MobileNetV2Config(**CONFIG | own))


@pytest.fixture
def copies(monkeypatch) -> list[tuple]:
    """The padding of each feature map that is copied."""
    seen, real = [], F.pad

    def counted(features, padding, *rest):
        seen.append(padding)
        return real(features, padding, *rest)

    monkeypatch.setattr(F, "pad", counted)
    return seen


@pytest.mark.parametrize("side", [32, 33, 64, 80])  # last maps of 1, 2, 2 and 3 pixels a side, some of them odd before
def test_answers_maps_and_gradients_are_those_of_the_librarys_model(side) -> None:
    images, found = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0)), []
    for model in (library(), by_convolutions(library())):
        output = model.train()(images, output_hidden_states=True)
        output.logits.square().sum().backward()
        found.append([output.logits, *output.hidden_states, *(weight.grad for weight in model.parameters())])
    for theirs, ours in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("stem", "copied"), [("cifar", 3), ("imagenet", 14)])
def test_a_map_is_copied_only_for_a_stride_and_where_it_is_smaller_than_the_kernel(stem, copied, copies) -> None:
    sized = SPEC | {"architecture": "mobilenetv2", "layers": 4, "width": 0.35, "stem": stem}
    build(sized, IMAGE, seed=0)(torch.randn(2, 3, 32, 32))
    assert len(copies) == copied and (0, 0, 0, 0) not in copies
    library()(torch.randn(2, 3, 32, 32))
    assert len(copies) == copied + 52


def test_weights_their_names_and_the_configuration_stay_as_they_were() -> None:
    plain, ours = library(), by_convolutions(library())
    assert fingerprint(plain) == fingerprint(ours)
    assert [name for name, _ in plain.named_parameters()] == [name for name, _ in ours.named_parameters()]
    assert ours.config.tf_padding is plain.config.tf_padding is True


def test_a_copy_has_its_own_weights() -> None:
    ours = by_convolutions(library())
    images = torch.randn(2, 3, 32, 32)
    other, before = copy.deepcopy(ours), ours(images).logits
    with torch.no_grad():
        for weight in other.parameters():
            weight.neg_()
    torch.testing.assert_close(ours(images).logits, before)
    assert not torch.allclose(other(images).logits, before)


def test_what_pads_by_itself_already_or_is_no_mobilenet_stays_as_it_is(copies) -> None:
    plain = library(tf_padding=False)
    assert {type(part) for part in by_convolutions(plain).modules() if isinstance(part, nn.Conv2d)} == {nn.Conv2d}
    other = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert type(by_convolutions(other)[0]) is nn.Conv2d
