"""`python -m benchmarks.convolution`: the grid of shapes against the faster of torch's two memory layouts, with ratios.

Forward alone, and forward with both gradients; torch and torchconv are given the same inputs in the same layouts, and
of each the better layout counts. Rounds are interleaved in one process; what is four times slower than the fastest in
the first round is not run again.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TORCHCONV_WISDOM", os.devnull)  # the choices as they come, without any tuning

import torch
from rich.progress import track
from torch import Tensor
from torch.nn import functional as F

import torchconv as tc
from benchmarks.grid import GRID, Shape
from benchmarks.measure import machine, raced

LAYOUTS = {"contiguous": torch.contiguous_format, "channels-last": torch.channels_last}
PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
WAYS = ("forward", "forward + backward")


def cases(shape: Shape, way: str, dtype: torch.dtype) -> dict[str, Callable[[], object]]:
    """Calls by "torch contiguous", "torchconv channels-last" and so on; unshared and tiled ones have no torch."""
    conv = shape.convolution
    x = torch.randn(shape.batch, shape.ins, *shape.size).to(dtype)
    weight = (torch.randn(conv.weight_shape(shape.size)) / math.sqrt(math.prod(shape.kernel))).to(dtype)
    layer = tc.nn.Conv.of(conv, input_size=shape.size, dtype=dtype)
    layer.weight.data = weight
    arguments = (None, shape.stride, tuple(side[0] for side in conv.padding), shape.dilation, shape.groups)
    found: dict[str, Callable[[], object]] = {}
    for name, layout in LAYOUTS.items():
        if layout is torch.channels_last and conv.ndim != 2:
            continue
        given = x.contiguous(memory_format=layout)
        if shape.sharing == "full":
            kernel = weight.contiguous(memory_format=layout)
            found[f"torch {name}"] = _call(lambda x, w: PLAIN[conv.ndim](x, w, *arguments), given, kernel, way)
        found[f"torchconv {name}"] = _call(layer._operator, given, weight, way)
    if shape.sharing not in ("full", "none"):  # against the ordinary convolution with the same kernel
        kernel = weight[(0,) * conv.ndim].contiguous()
        found["torch contiguous"] = _call(lambda x, w: PLAIN[conv.ndim](x, w, *arguments), x, kernel, way)
    return found


def _call(function: Callable[[Tensor, Tensor], Tensor], x: Tensor, weight: Tensor, way: str) -> Callable[[], object]:
    if way == "forward":
        return torch.no_grad()(lambda: function(x, weight))
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    grad = torch.ones_like(function(x, weight))
    return lambda: torch.autograd.grad(function(x, weight), (x, weight), grad)


def main() -> int:
    """Print the table and the summary; the status is 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", nargs="*", help="only these families of the grid")
    parser.add_argument("--dtype", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--way", nargs="*", default=list(WAYS), choices=WAYS)
    parser.add_argument("--seconds", type=float, default=1.0, help="for one row")
    options = parser.parse_args()
    print(machine())
    shapes = [shape for shape in GRID if not options.family or shape.family in options.family]
    found: list[tuple[Shape, str, str, float]] = []
    for dtype in options.dtype:
        for way in options.way:
            print(f"\n{dtype}, {way}")
            print(f"{'family':14}{'shape':34}{'algorithms':34}{'torch ms':>10}{'torchconv':>11}{'ratio':>8}")
            for shape in track(shapes, f"{dtype}, {way}", transient=True):
                row = _row(shape, way, getattr(torch, dtype), options.seconds)
                found += [(shape, dtype, way, row)] if row else []
    return _summary(found)


def _row(shape: Shape, way: str, dtype: torch.dtype, seconds: float) -> float | None:
    torch.manual_seed(0)
    times = raced(cases(shape, way, dtype), seconds)
    best = {
        peer: min((median(found) for name, found in times.items() if name.split()[0] == peer), default=math.nan)
        for peer in ("torch", "torchconv")
    }
    ratio = best["torch"] / best["torchconv"]
    plan = tc.plan(shape.convolution, (shape.batch, shape.ins, *shape.size), dtype=dtype)
    names = plan.algorithms.values() if way != "forward" else [plan.algorithm]
    used = ", ".join(dict.fromkeys(names))
    milliseconds = "".join(f"{1e3 * best[peer]:{width}.3f}" for peer, width in (("torch", 10), ("torchconv", 11)))
    print(f"{shape.family:14}{shape!s:34}{used:34}{milliseconds}{ratio:8.2f}", flush=True)
    return None if math.isnan(ratio) else ratio


def _summary(found: list[tuple[Shape, str, str, float]]) -> int:
    ordinary = [row for row in found if row[0].sharing == "full"]
    large = [row[3] for row in ordinary if row[0].taps >= 7]
    worst = min(ordinary, key=lambda row: row[3])
    print(f"\nrows {len(found)}; worst ratio {worst[3]:.2f} (target 0.95): {worst[0]}, {worst[1]}, {worst[2]}")
    below = sum(row[3] < 0.95 for row in ordinary)
    print(f"rows below 0.95: {below} of {len(ordinary)}")
    mean = math.exp(sum(map(math.log, large)) / len(large)) if large else math.nan
    print(f"geometric mean over kernels of 7 and more: {mean:.2f} (target 2.5)")
    return int(worst[3] < 0.95 or mean < 2.5)


if __name__ == "__main__":
    sys.exit(main())
