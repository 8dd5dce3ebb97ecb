"""Born-again networks (Furlanello et al. 2018, arXiv 1805.04770): students of the teacher's own size, generation by
generation.

Generation 0 learns from the labels alone. Generation k starts from new random weights and learns from generation k − 1,
by `kd.distillation`.
"""


def teacher_of(generation: int) -> int | None:
    """The generation that teaches this one; None for the first, which has labels alone. Raises ValueError below 0."""
    if generation < 0:
        raise ValueError(f"generations count from 0, got {generation}")
    return generation - 1 if generation else None
