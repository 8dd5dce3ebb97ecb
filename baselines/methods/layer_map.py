"""Layer maps: which layers of the student learn from which layers of the teacher, counted from 1."""

from collections.abc import Sequence
from typing import Literal

LayerMap = Literal["last", "last_stretched", "skip", "last1", "critical"]
Pairs = tuple[tuple[int, int], ...]


def layer_pairs(layer_map: LayerMap, n_teacher: int, n_student: int, k: int, critical: Sequence[int] = ()) -> Pairs:
    """(student layer, teacher layer) for each pair, in order.

    `last` pairs the last k with the last k, `last_stretched` spreads the student's k over its depth, `skip` spreads
    both (PKD-skip, TinyBERT), `last1` takes the final layers alone, `critical` the teacher layers that were measured.
    Raises ValueError when k is not legal (the message names the largest that is), when a spread map meets a student
    deeper than its teacher, and when `critical` does not have k layers.
    """
    if layer_map == "last1":
        return ((n_student, n_teacher),)
    legal = min(n_student, n_teacher)
    if not 1 <= k <= legal:
        raise ValueError(f"k={k} layers of {n_student} (student) and {n_teacher} (teacher): choose 1 to {legal}")
    if n_student > n_teacher and layer_map != "last":
        raise ValueError(f'student has {n_student} layers, teacher {n_teacher}: only "last" and "last1" fit')
    if layer_map == "critical" and len(critical) != k:
        raise ValueError(f"{k} critical layers are needed, got {[*critical]}: measure them with critical_layers")
    last_student, last_teacher = (tuple(range(n - k + 1, n + 1)) for n in (n_student, n_teacher))
    spread_student, spread_teacher = (tuple(round(j * n / k) for j in range(1, k + 1)) for n in (n_student, n_teacher))
    chosen = {
        "last": (last_student, last_teacher),
        "last_stretched": (spread_student, last_teacher),
        "skip": (spread_student, spread_teacher),
        "critical": (last_student, sorted(critical)),
    }
    return tuple(zip(*chosen[layer_map], strict=True))
