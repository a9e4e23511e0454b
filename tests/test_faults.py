"""Where torch's kernels are known to be wrong, they are given float32 on the processors where it matters."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import torchconv as tc
from torchconv.compute import functional, torch_bugs


class Watch(TorchDispatchMode):
    """Notes the types of the numbers that torch's convolutions are given."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[torch.dtype] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "convolution" in str(func):
            self.found.append(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.fixture(params=["amx_bf16", "avx512f"])
def processor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch_bugs, "HERE", torch_bugs.on_processor({request.param}))
    functional._made.cache_clear()
    yield request.param
    functional._made.cache_clear()


def given(x: torch.Tensor, w: torch.Tensor) -> list[torch.dtype]:
    """What torch's kernels were given for the output and both gradients."""
    with Watch() as watch:
        y = tc.conv(x, w, algorithm="torch")
        tc.conv_input_grad(x.shape, w, y, algorithm="torch")
        grad = tc.conv_weight_grad(x, w.shape, y, algorithm="torch")
    assert y.dtype == grad.dtype == x.dtype
    return watch.found


@pytest.mark.parametrize(("channels", "taps"), [(2, 32), (4, 16), (4, 24), (4, 64), (8, 12), (14, 16)])
def test_known_wrong_regions_are_computed_in_float32(processor: str, channels: int, taps: int) -> None:
    x, w = torch.randn(2, channels, 128).bfloat16(), torch.randn(channels, channels, taps).bfloat16()
    kind = torch.float32 if processor == "amx_bf16" else torch.bfloat16
    assert given(x, w) == [kind] * 3
    layer = tc.nn.Conv1d(channels, channels, taps, dtype=torch.bfloat16)
    with torch.no_grad(), Watch() as watch:
        layer(x)
    assert watch.found in ([kind], [])  # none where "auto" has a better way


@pytest.mark.parametrize(("channels", "taps"), [(4, 8), (3, 32), (16, 16), (4, 65)])
def test_other_convolutions_are_left_alone(processor: str, channels: int, taps: int) -> None:
    x, w = torch.randn(2, channels, 128).bfloat16(), torch.randn(channels, channels, taps).bfloat16()
    assert given(x, w) == [torch.bfloat16] * 3


@pytest.mark.parametrize("pretended", [[], ["amx_bf16"]])
@pytest.mark.parametrize(("ins", "outs", "kernel"), [(4, 4, (16,)), (2, 3, (256,)), (3, 8, (16,)), (8, 2, (3, 8))])
def test_results_and_gradients_are_right(
    pretended: list[str], ins: int, outs: int, kernel: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On whatever processor this is: never fewer instructions than it has are pretended, its bugs would show."""
    monkeypatch.setattr(torch_bugs, "HERE", torch_bugs.on_processor({*torch_bugs.instructions(), *pretended}))
    functional._made.cache_clear()
    size = [taps + 40 for taps in kernel]
    x = torch.randn(2, ins, *size).bfloat16().requires_grad_()
    w = torch.randn(outs, ins, *kernel).bfloat16().requires_grad_()
    plain = [one.detach().float().requires_grad_() for one in (x, w)]
    y, z = tc.conv(x, w, algorithm="torch"), (torch.conv1d if len(kernel) == 1 else torch.conv2d)(*plain)
    y.float().square().sum().backward()
    z.square().sum().backward()
    functional._made.cache_clear()
    for one, other in ((y, z), (x.grad, plain[0].grad), (w.grad, plain[1].grad)):
        torch.testing.assert_close(one.float(), other, rtol=0.05, atol=0.05 * float(other.detach().abs().max()))


def test_this_processors_instructions_are_read() -> None:
    assert torch_bugs.on_processor([]) == ()
    assert set(torch_bugs.HERE) <= set(torch_bugs.REGIONS)
    assert torch_bugs.on_processor(torch_bugs.instructions()) == torch_bugs.HERE
