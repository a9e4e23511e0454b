"""Unshared and tiled layers against the usual snippet, and the cost of asking for an ordinary convolution.

    python -m benchmarks.layers

The snippet is what is written where a library has no such layer (pytorch#499 shows several): unfold the windows,
multiply them with the weights by broadcasting, sum.
"""

from __future__ import annotations

from statistics import median

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table
from torch import Tensor

import torchconv as tc

from . import measure

BATCH, CHANNELS, SIZE, KERNEL = 8, 64, 28, 3


def snippet(x: Tensor, weight: Tensor, period: int | None) -> Tensor:
    """A locally connected (or, by repeating its kernels, tiled) layer; weight (*phases, out, in, k, k)."""
    if period is not None:
        steps = torch.arange(SIZE) % period
        weight = weight[steps][:, steps]
    windows = F.unfold(x, KERNEL, padding=KERNEL // 2).view(len(x), 1, -1, SIZE * SIZE)
    kernels = weight.permute(2, 3, 4, 5, 0, 1).reshape(1, CHANNELS, -1, SIZE * SIZE)
    return (windows * kernels).sum(2).view(len(x), CHANNELS, SIZE, SIZE)


def layers(console: Console) -> None:
    """Time and memory of both layers, forward and both gradients."""
    table = Table(
        title=f"({BATCH}, {CHANNELS}, {SIZE}, {SIZE}) -> {CHANNELS}, {KERNEL}x{KERNEL}: snippet against torchconv"
    )
    for heading in (
        "layer",
        "operation",
        "snippet ms",
        "torchconv ms",
        "times faster",
        "snippet MB",
        "torchconv MB",
        "times smaller",
    ):
        table.add_column(heading, justify="left" if heading in ("layer", "operation") else "right")
    torch.manual_seed(0)
    for name, sharing, period in (("unshared", "none", None), ("tiled, period 2", 2, 2)):
        phases = SIZE if period is None else period
        x = torch.randn(BATCH, CHANNELS, SIZE, SIZE)
        weight = torch.randn(phases, phases, CHANNELS, CHANNELS, KERNEL, KERNEL)
        grad = torch.randn(BATCH, CHANNELS, SIZE, SIZE)

        def ours(x=x, weight=weight, sharing=sharing):
            return tc.conv(x, weight, padding=KERNEL // 2, sharing=sharing)

        def usual(x=x, weight=weight, period=period):
            return snippet(x, weight, period)

        assert torch.allclose(ours(), usual(), atol=1e-3)
        for operation, towards in (
            ("forward", ()),
            ("and to input", (x,)),
            ("and to weights", (weight,)),
            ("and both", (x, weight)),
        ):
            cases = {"usual": backward(usual, towards, grad), "ours": backward(ours, towards, grad)}
            for tensor in (x, weight):
                tensor.requires_grad_(any(tensor is one for one in towards))
            times = measure.interleaved(cases, rounds=7, seconds=0.5)
            memory = {key: measure.peak_bytes(case) for key, case in cases.items()}
            table.add_row(
                name,
                operation,
                *(f"{median(times[key]) * 1e3:.1f}" for key in cases),
                f"{measure.ratio(times, 'usual', 'ours'):.1f}",
                *(f"{memory[key] / 1e6:.0f}" for key in cases),
                f"{memory['usual'] / memory['ours']:.1f}",
            )
    console.print(table)


def backward(layer, towards, grad):
    """A call of the layer, and of its gradients where any are asked for."""

    def call():
        if not towards:
            with torch.no_grad():
                return layer()
        return torch.autograd.grad(layer(), towards, grad)

    return call


def overhead(console: Console) -> None:
    """What asking for an ordinary convolution costs on top of torch's own function."""
    x, weight, bias = torch.randn(1, 1, 4, 4), torch.randn(1, 1, 3, 3), torch.randn(1)
    theirs, ours = torch.nn.Conv2d(1, 1, 3, padding=1), tc.nn.Conv2d(1, 1, 3, padding=1)
    up, our_up = (kind(1, 1, 3, stride=2, padding=1) for kind in (torch.nn.ConvTranspose2d, tc.nn.ConvTranspose2d))
    pairs = {
        "function": (lambda: F.conv2d(x, weight, bias, padding=1), lambda: tc.conv(x, weight, bias, padding=1)),
        "module": (lambda: theirs(x), lambda: ours(x)),
        "transposed module": (lambda: up(x), lambda: our_up(x)),
    }
    table = Table(title="an ordinary convolution of 4x4 pixels, microseconds a call (target: at most 5 on top)")
    for heading in ("", "torch", "torchconv", "on top"):
        table.add_column(heading, justify="right" if heading else "left")
    with torch.no_grad():
        for name, (torch_call, our_call) in pairs.items():
            times = measure.interleaved({"torch": torch_call, "ours": our_call}, rounds=41, seconds=0.8)
            extra = median(b - a for a, b in zip(times["torch"], times["ours"], strict=True))
            values = (median(times["torch"]), median(times["ours"]), extra)
            table.add_row(name, *(f"{value * 1e6:.2f}" for value in values))
    console.print(table)


if __name__ == "__main__":
    console = Console(width=140)
    console.print(measure.machine())
    layers(console)
    overhead(console)
