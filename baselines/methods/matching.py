"""Which layers a planned method matches, as its card says (methods.toml): what is cached and probed for it."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from baselines.methods.embedding import last_pair
from baselines.methods.hints import middle_pair
from baselines.methods.pkd import patient_pairs
from baselines.methods.selective import Pairs, layer_pairs, most_critical

CARDS = Path(__file__).parents[1] / "methods.toml"


def matched(method: Mapping, n_teacher: int, n_student: int, scores: Sequence[float] = ()) -> Pairs:
    """(student layer, teacher layer) of every pair in the loss of a method with these settings; () for one of logits.

    `scores` are those of the teacher's blocks, where they were measured (`critical_layers`). Raises what the rule for
    the pairs raises where the models are too shallow for it.
    """
    match _card(method)["pairs"]:
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
    return tuple(_card(method)["uses"])


def _card(method: Mapping) -> dict:
    return tomllib.loads(CARDS.read_text(encoding="utf-8"))[method["name"]]
