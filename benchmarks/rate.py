"""How much of what a machine can multiply a training uses."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from baselines.data.collator import Collator
from benchmarks.arms import CUDA, DEVICE, inputs_of, now, student_of
from benchmarks.setting import Setting

SIDE, TIMES = 8192 if CUDA else 2048, 20
FORWARD_AND_BACK = 3
"""A backward pass has two products for each of a forward pass. Torch's own count of it takes a convolution over groups
for a whole one."""


def operations(setting: Setting) -> int:
    """Floating-point operations of a student's step: those of its matrix products and convolutions, but on a processor
    for the products within attention, which torch does not count there."""
    model, rows = student_of(setting), setting.rows
    batch = Collator(setting.task)([rows[place] for place in range(setting.batch_size)])
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs_of(batch))
    return FORWARD_AND_BACK * counter.get_total_flops()


def of_matrices(precision: str) -> float:
    """Floating-point operations per second of multiplying two square matrices of SIDE, at best."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    one, other = (torch.randn(SIDE, SIDE, device=DEVICE, dtype=kind) for _ in range(2))
    found = []
    for _ in range(TIMES):
        began = now()
        one @ other
        found.append(now() - began)
    return 2 * SIDE**3 / min(found)
