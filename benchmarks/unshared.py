"""Unshared and tiled convolution against what the machine can do, and against JAX.

    python -m benchmarks.unshared

The bound of an operation is the larger of two times, measured between the same rounds: to read the weights once, as
fast as torch's sum of them does, and to multiply and add as fast as torch's product of two large matrices does. Where
NumPy's product is faster, the last column has what that bound would be. Products with padding are not counted. Memory
is what the process takes beyond the operands and the result. A tiled convolution has torch's ordinary one with one of
its kernels as its peer, in the layout that it is given itself; the last column has the ratio to torch's better layout.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from math import prod
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TORCHCONV_WISDOM", os.devnull)  # the choices as they come, without any tuning

import torch
from torch import Tensor

import torchconv as tc
from benchmarks import jax_peer
from benchmarks.grid import Shape
from benchmarks.jax_peer import FORWARD, INPUT, ROLES, WEIGHT
from benchmarks.measure import interleaved, machine, peak_bytes, ratio

SIZES = [(8, 64, 64, (28, 28), (3, 3)), (32, 64, 64, (14, 14), (3, 3)), (16, 3, 32, (32, 32), (5, 5))]
BOUNDS = {FORWARD: 2, INPUT: 3, WEIGHT: 3}  # times the bound, at most
FASTER_THAN_JAX, EXTRA_MB, ORDINARY = 10, 16, 1.3
MATRIX = 1024
Calls = dict[str, Callable[[], object]]


class Case:
    """One shape with numbers, and the three operations on them as calls."""

    def __init__(self, sizes: tuple, sharing: int | str) -> None:
        self.shape = Shape("", *sizes, sharing=sharing)
        conv = self.shape.convolution
        torch.manual_seed(0)
        self.x = torch.randn(self.shape.batch, conv.in_channels, *self.shape.size)
        self.weight = torch.randn(conv.weight_shape(self.shape.size)) / prod(self.shape.kernel) ** 0.5
        self.grad = torch.randn(self.shape.batch, conv.out_channels, *conv.output_size(self.shape.size))

    def calls(self) -> Calls:
        """The operations by torchconv."""
        x, weight, grad = self.x, self.weight, self.grad
        settings = {"padding": self.shape.kernel[0] // 2, "sharing": self.shape.sharing}
        return {
            FORWARD: lambda: tc.conv(x, weight, **settings),
            INPUT: lambda: tc.conv_input_grad(x.shape, weight, grad, **settings),
            WEIGHT: lambda: tc.conv_weight_grad(x, weight.shape, grad, **settings),
        }

    def result(self, role: str) -> Tensor:
        """A tensor of the shape that an operation returns."""
        return {FORWARD: self.grad, INPUT: self.x, WEIGHT: self.weight}[role]

    def limits(self) -> Calls:
        """What the bound is made of: to read the weights, and products of matrices by two libraries."""
        one = torch.randn(MATRIX, MATRIX)
        array = one.numpy()
        return {"read": self.weight.sum, "torch": lambda: one @ one, "NumPy": lambda: array @ array}

    def bound(self, times: dict[str, list[float]], product: str) -> tuple[float, str]:
        """Seconds that no way can do without, about, by the product of that library, and what they go to."""
        macs = self.shape.batch * self.shape.convolution.macs(self.shape.size)
        return max((median(times["read"]), "reading"), (macs / MATRIX**3 * median(times[product]), "arithmetic"))

    def ordinary(self, role: str) -> Calls:
        """torch's ordinary convolution with one kernel of this tiled one, in both layouts."""
        padding, kernel = [size // 2 for size in self.shape.kernel], self.weight[(0,) * len(self.shape.kernel)]
        found = {}
        for name, layout in (("contiguous", torch.contiguous_format), ("channels-last", torch.channels_last)):
            x, w, grad = (one.contiguous(memory_format=layout) for one in (self.x, kernel, self.grad))
            found[name] = _of_torch(role, x, w, grad, padding)
        return found


def _of_torch(role: str, x: Tensor, weight: Tensor, grad: Tensor, padding: list[int]) -> Callable[[], object]:
    if role == FORWARD:
        return lambda: torch.conv2d(x, weight, padding=padding)
    settings = ([1, 1], padding, [1, 1], False, [0, 0], 1, [role == INPUT, role == WEIGHT, False])
    return lambda: torch.ops.aten.convolution_backward(grad, x, weight, None, *settings)


def unshared(case: Case) -> list[bool]:
    """Print the rows of one shape; for each target whether it is met."""
    ours, found = case.calls(), []
    theirs = jax_peer.calls(case.shape, case.x, case.weight, case.grad) if jax_peer.jax else {}
    for role in ROLES:
        cases = {"ours": ours[role], **case.limits()}
        if theirs:
            _check(ours[role](), jax_peer.as_tensor(case.shape, role, theirs[role]()))
            cases["jax"] = theirs[role]
        times = interleaved(cases, rounds=9, seconds=0.3)
        milliseconds, (bound, which) = 1e3 * median(times["ours"]), case.bound(times, "torch")
        slower, stricter = (milliseconds / 1e3 / case.bound(times, library)[0] for library in ("torch", "NumPy"))
        extra = (peak_bytes(ours[role]) - case.result(role).nbytes) / 1e6
        faster = ratio(times, "jax", "ours") if theirs else None
        met = [slower <= BOUNDS[role], extra <= EXTRA_MB, *([] if faster is None else [faster >= FASTER_THAN_JAX])]
        jax = "not installed" if faster is None else _judged(f"{faster:.1f}", f">= {FASTER_THAN_JAX}", met[2])
        _print(
            (case.shape, role, f"{milliseconds:.2f}", f"{1e3 * bound:.2f} {which}"),
            (_judged(f"{slower:.2f}", f"<= {BOUNDS[role]}", met[0]), _judged(f"{extra:.1f}", f"<= {EXTRA_MB}", met[1])),
            (jax, f"{max(slower, stricter):.2f}"),
        )
        found += met
    return found


def tiled(case: Case) -> list[bool]:
    """Print the rows of one tiled shape; for each target whether it is met."""
    found = []
    for role, call in case.calls().items():
        times = interleaved({"ours": call, **case.ordinary(role)}, rounds=9, seconds=0.3)
        slower, stricter = (ratio(times, "ours", layout) for layout in ("contiguous", "channels-last"))
        found.append(slower <= ORDINARY)
        milliseconds = [f"{1e3 * median(times[name]):.2f}" for name in ("ours", "contiguous")]
        verdict = _judged(f"{slower:.2f}", f"<= {ORDINARY}", found[-1])
        _print((case.shape, role, *milliseconds, verdict, f"{max(slower, stricter):.2f}"))
    return found


def _check(ours: object, theirs: Tensor) -> None:
    assert isinstance(ours, Tensor)
    away = float((ours - theirs).abs().max()) / float(ours.abs().max())
    assert away < 1e-4, f"JAX's result differs by {away:.1g}"


def _judged(value: str, target: str, met: bool) -> str:
    return f"{value} {target} {'met' if met else 'MISSED'}"


def _print(*groups: tuple) -> None:
    widths = (36, 17, 8, 18, 20, 20, 20, 0)
    print("".join(f"{cell!s:{width}}" for cell, width in zip(sum(groups, ()), widths, strict=False)), flush=True)


def main() -> int:
    """Print the tables; the status is 1 where a target is missed."""
    jax = f"jax {jax_peer.jax.__version__}" if jax_peer.jax else "jax not installed"
    print(f"{machine()}, {jax}\n\nunshared; JAX: conv_general_dilated_local")
    first = ("batch,in,out,size,kernel", "operation", "ms")
    _print(first, ("bound ms", "times the bound", "MB more", "JAX over ours", "by NumPy's bound"))
    found = [met for sizes in SIZES for met in unshared(Case(sizes, "none"))]
    print("\ntiled, against torch's ordinary convolution with one of the kernels")
    _print(first, ("ordinary ms", "ours over it", "better layout"))
    found += [met for sizes in SIZES for met in tiled(Case(sizes, 2))]
    print(f"\ntargets met: {sum(found)} of {len(found)}")
    return int(not all(found))


if __name__ == "__main__":
    sys.exit(main())
