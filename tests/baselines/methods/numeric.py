"""What every loss is checked with: its gradient against finite differences, and its value in half precision."""

import torch

STEP = 1e-5


def gradient_error(loss, *inputs) -> float:
    """Relative error of autograd's gradient against central finite differences, both in fp64, over all inputs."""
    points = [value.detach().double().requires_grad_() for value in inputs]
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(loss(*points), points)])
    with torch.no_grad():
        measured = torch.stack([_slope(loss, points, entry) for value in points for entry in value.view(-1)])
    assert exact.norm() > 1e-6, "a vanishing gradient shows nothing"
    return ((exact - measured).norm() / measured.norm()).item()


def _slope(loss, points, entry):
    """(f(x + h) − f(x − h)) / 2h along one entry, a view into its tensor."""
    entry += STEP
    above = loss(*points)
    entry -= 2 * STEP
    below = loss(*points)
    entry += STEP
    return (above - below) / (2 * STEP)


def assert_half_is_computed_in_fp32(loss, *inputs) -> None:
    """The loss of bf16 and fp16 inputs is fp32, and the very one of the same numbers in fp32."""
    for dtype in (torch.bfloat16, torch.float16):
        half = [value.to(dtype) for value in inputs]
        value = loss(*half)
        assert value.dtype == torch.float32 and value.isfinite()
        torch.testing.assert_close(value, loss(*(h.float() for h in half)), rtol=0, atol=0)
