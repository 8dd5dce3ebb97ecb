"""The layers a planned method matches, from its card (cards/NAME.toml): those cached and probed for it."""

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from baselines.methods.critical import most_critical
from baselines.methods.embedding import last_pair
from baselines.methods.hints import middle_pair
from baselines.methods.layer_map import Pairs, layer_pairs
from baselines.methods.pkd import patient_pairs

CARDS = Path(__file__).parent / "cards"


def matched(method: Mapping, n_teacher: int, n_student: int, scores: Sequence[float] = ()) -> Pairs:
    """(student layer, teacher layer) of every pair in the loss of a method with these settings; () for one of logits.

    `scores` are those of the teacher's blocks, where they were measured (`critical_layers`). Raises what the rule for
    the pairs raises where the models are too shallow for it.
    """
    match _card(method["name"])["pairs"]:
        case "mapped":
            k = method["layers"]
            return layer_pairs(method["layer_map"], n_teacher, n_student, k, most_critical(scores, k))
        case "patient":
            return patient_pairs(method["layer_map"], n_teacher, n_student)
        case "middle":
            return middle_pair(n_teacher, n_student)
        case "last":
            return last_pair(n_teacher, n_student)
    return ()


def uses(method: Mapping) -> tuple[str, ...]:
    """What of a frozen teacher its training depends on: "logits", "likelihoods", "features"."""
    return tuple(_card(method["name"])["uses"])


@cache
def _card(name: str) -> dict:
    return tomllib.loads((CARDS / f"{name}.toml").read_text(encoding="utf-8"))
