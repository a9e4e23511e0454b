"""`python -m benchmarks.regions`: where torch's narrow convolutions are wrong on this processor.

Every operation of torch's own in bfloat16 and float16, on one axis and on two, with as many channels in as out, dense
and depthwise, against float32 on the same numbers; wrong is what is off by more than a tenth of the largest number.
What is found becomes rows of compute/torch_bugs.py. `--step 1` takes every kernel on two axes too, for minutes.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import torch
from torch import Tensor

from benchmarks.measure import machine
from torchconv.compute import torch_bugs

TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
CHANNELS, KERNELS, WRONG = range(1, 33), range(1, 65), 0.1
OPERATIONS = ("output", "input gradient", "weight gradient")
FEW = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)  # channels on two axes


def operations(x: Tensor, weight: Tensor, grad: Tensor, groups: int) -> list[Tensor]:
    """The output and both gradients by torch."""
    ndim = x.ndim - 2
    one, none = [1] * ndim, [0] * ndim
    y = torch.convolution(x, weight, None, one, none, one, False, none, groups)
    mask = [True, True, False]
    backward = torch.ops.aten.convolution_backward(grad, x, weight, None, one, none, one, False, none, groups, mask)
    return [y, backward[0], backward[1]]


def errors(kind: torch.dtype, ndim: int, channels: int, taps: int, groups: int) -> list[float]:
    """The largest error of each operation, in parts of the largest number."""
    size = taps + (40 if ndim == 1 else 9)
    x = torch.randn(2, channels, *[size] * ndim).to(kind)
    weight = torch.randn(channels, channels // groups, *[taps] * ndim).to(kind)
    grad = torch.randn(2, channels, *[size - taps + 1] * ndim).to(kind)
    wide = operations(x.float(), weight.float(), grad.float(), groups)
    pairs = zip(operations(x, weight, grad, groups), wide, strict=True)
    found = [float((one.float() - other).abs().max() / other.abs().max()) for one, other in pairs]
    return [1e9 if error != error else error for error in found]


def scan(kind: torch.dtype, ndim: int, step: int) -> tuple[int, dict[str, dict[int, list[int]]]]:
    """How many convolutions were tried, and the wrong ones: kernels by channels by the operation."""
    found: dict[str, dict[int, list[int]]] = defaultdict(lambda: defaultdict(list))
    kernels = KERNELS if ndim == 1 else sorted({*range(1, 17), *range(16, 65, step)})
    count = 0
    for channels in CHANNELS if ndim == 1 else FEW:
        for taps in kernels:
            for groups in {1, channels}:
                count += 1
                for name, error in zip(OPERATIONS, errors(kind, ndim, channels, taps, groups), strict=True):
                    if error > WRONG:
                        found[name + (", depthwise" if groups > 1 else "")][channels].append(taps)
    return count, found


def main() -> None:
    """Print what was tried and what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=8, help="from kernel to kernel beyond 16 on two axes")
    step = parser.parse_args().step
    has = torch_bugs.instructions()
    narrow = [name for name in ("avx512_bf16", "avx512_fp16", "amx_bf16", "amx_fp16") if name in has]
    print(f"{machine()}\ninstructions for narrow numbers: {', '.join(narrow) or 'none'}")
    for name, kind in TYPES.items():
        for ndim in (1, 2):
            torch.manual_seed(0)
            start = time.perf_counter()
            count, found = scan(kind, ndim, step)
            wrong = "" if found else ": nothing wrong"
            print(
                f"{name}, {ndim} axes, {count} convolutions in {time.perf_counter() - start:.0f} s{wrong}", flush=True
            )
            for operation, places in found.items():
                for channels, kernels in places.items():
                    print(f"  {operation}: {channels} channels, kernels {', '.join(map(str, kernels))}")
    print("\nknown, in torchconv/compute/torch_bugs.py:")
    for region in torch_bugs.REGIONS:
        print(f"  {region}{', which is here' if region in torch_bugs.HERE else ''}")


if __name__ == "__main__":
    main()
