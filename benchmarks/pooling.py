"""Pooling against torch's functions, and weighted pooling against the depthwise convolution it is usually written as.

    python -m benchmarks.pooling

Ratios above 1 are torchconv's wins. Both sides run in turns in one process, forward alone and forward with backward.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from statistics import geometric_mean, median

import torch
import torch.nn.functional as F
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor

from torchconv import nn
from torchconv.nn.pooling.window_pool import Pool

from . import measure

SHAPES = [
    (32, 64, 112, 112),
    (16, 128, 56, 56),
    (16, 256, 28, 28),
    (32, 512, 14, 14),
    (32, 512, 7, 7),
    (1, 16, 32, 32),
    (32, 64, 1024),
    (4, 32, 16, 56, 56),
]
FILTERS = {3: [1.0, 2.0, 1.0], 5: [1.0, 4.0, 6.0, 4.0, 1.0]}
Case = tuple[str, Pool, Callable[[Tensor], Tensor]]


def cases(ndim: int, channels: int, shortest: int) -> Iterator[Case]:
    """Name, ours and theirs of every pooling that fits."""
    ours = (nn.Pool1d, nn.Pool2d, nn.Pool3d)[ndim - 1]
    largest, mean, norm, convolve = (
        tuple(getattr(F, f"{name}{rank}d") for rank in (1, 2, 3))[ndim - 1]
        for name in ("max_pool", "avg_pool", "lp_pool", "conv")
    )
    for kernel, stride, padding in ((2, 2, 0), (3, 2, 1), (3, 1, 1)):
        window = f"{kernel}/{stride}"
        given = {"kernel_size": kernel, "stride": stride, "padding": padding}
        yield f"max {window}", ours(**given), partial(largest, **given)
        yield f"mean {window}", ours(**given, statistic="mean"), partial(mean, **given, count_include_pad=False)
    for p, kernel, stride in ((2, 2, 2), (3, 3, 2)):
        own = ours(kernel, stride, statistic="lp", p=p)
        yield f"lp {kernel}/{stride}, p = {p}", own, partial(norm, norm_type=p, kernel_size=kernel, stride=stride)
    for kernel, values in FILTERS.items():
        if kernel > shortest:
            continue
        weight = nn.Pool1d(kernel, statistic="weighted", weight=values).pooling.factors()
        assert weight is not None
        full = product(torch.tensor(weight[0]), ndim)
        own = ours(kernel, 2, kernel // 2, statistic="weighted", weight=full.tolist(), count_include_pad=True)
        depthwise = full.float().expand(channels, 1, *full.shape).contiguous()
        theirs = partial(convolve, weight=depthwise, stride=2, padding=kernel // 2, groups=channels)
        yield f"binomial {kernel}/2", own, theirs


def product(factor: Tensor, ndim: int) -> Tensor:
    """The same factor along every axis, its sum 1."""
    full = factor = factor.double() / factor.sum()
    for _ in range(ndim - 1):
        full = full[..., None] * factor
    return full


def backward(pool: Callable[[Tensor], Tensor], x: Tensor, grad: Tensor) -> Callable[[], None]:
    def run() -> None:
        x.grad = None
        pool(x).backward(grad)

    return run


def measured(shape: tuple[int, ...], case: Case) -> list[tuple[float, float, float]]:
    """Milliseconds of theirs and ours and their ratio: forward, and forward with backward."""
    name, ours, theirs = case
    x = torch.randn(shape)
    if "p = 3" in name:
        x = x.abs()  # torch's gives NaN for negative numbers (pytorch#184037)
    expected = theirs(x)
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)
    grad = torch.randn_like(expected)
    leaf = x.clone().requires_grad_()
    pairs = (
        {"torch": partial(theirs, x), "torchconv": partial(ours, x)},
        {"torch": backward(theirs, leaf, grad), "torchconv": backward(ours, leaf, grad)},
    )
    found = []
    for pair in pairs:
        times = measure.interleaved(pair, rounds=11, seconds=0.3)
        found.append((*(median(times[name]) * 1e3 for name in pair), measure.ratio(times, "torch", "torchconv")))
    return found


def cells(torchs: float, ours: float, ratio: float) -> tuple[str, str, str]:
    return f"{torchs:.3f}", f"{ours:.3f}", f"{ratio:.2f}"


def main() -> None:
    """Print a table for each shape, and the geometric means."""
    torch.manual_seed(0)
    console = Console(width=120)
    console.print(measure.machine())
    ratios: dict[str, list[float]] = {}
    for shape in SHAPES:
        table = Table(title=f"{shape}, milliseconds")
        for heading in ("pooling", "torch", "torchconv", "ratio", "torch f+b", "torchconv f+b", "ratio f+b"):
            table.add_column(heading, justify="left" if heading == "pooling" else "right")
        for case in track(list(cases(len(shape) - 2, shape[1], min(shape[2:]))), str(shape), transient=True):
            results = measured(shape, case)
            ratios.setdefault(case[0].split()[0], []).append(results[1][2])
            shown = [cell for milliseconds in results for cell in cells(*milliseconds)]
            table.add_row(case[0], *shown)
        console.print(table)
    for name, values in ratios.items():
        times, least = geometric_mean(values), min(values)
        console.print(f"{name}: forward and backward {times:.2f} times as fast as torch, at least {least:.2f}")


if __name__ == "__main__":
    main()
