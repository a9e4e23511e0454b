"""What every algorithm obeys, and how to break it: laws of the three operations, and faults to plant in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor

from torchconv.compute.algorithms import reference
from torchconv.compute.operator import Operator
from torchconv.description.axis import BOUNDARIES, Axis
from torchconv.description.convolution import Convolution
from torchconv.errors import ShapeError


@dataclass(frozen=True)
class Operations:
    """The three operations of one convolution, however they are computed."""

    output: Callable[[Convolution, Tensor, Tensor], Tensor]
    input_grad: Callable[[Convolution, Tensor, Tensor, tuple[int, ...]], Tensor]
    weight_grad: Callable[[Convolution, Tensor, Tensor], Tensor]


def operations(algorithm: str) -> Operations:
    """Those of an algorithm, through the operator, as users reach them."""
    return Operations(
        lambda conv, x, weight: Operator(conv, algorithm)(x, weight),
        lambda conv, grad, weight, size: Operator(conv, algorithm).input_grad(grad, weight, size),
        lambda conv, x, grad: Operator(conv, algorithm).weight_grad(x, grad),
    )


@st.composite
def problems(draw: st.DrawFn, max_ndim: int = 3, sharings: bool = True) -> tuple[Convolution, tuple[int, ...]]:
    """Any convolution of the family without a bias, and an input size that fits it."""
    alone = draw(st.integers(0, 4)) == 0  # one channel for each output, which compiled kernels are for
    ndim = draw(st.integers(1, min(max_ndim, 2) if alone else max_ndim))
    per_axis = lambda values: st.lists(values, min_size=ndim, max_size=ndim).map(tuple)  # noqa: E731
    small = st.integers(1, 3)
    pairs = per_axis(st.tuples(st.integers(-1, 3), st.integers(-1, 3)))
    channels = draw(st.sampled_from([(2, 4), (3, 3), (1, 2)] if alone else [(2, 4), (4, 2), (3, 3), (1, 2)]))
    settings: dict = {
        "groups": draw(st.sampled_from([g for g in (1, 2, 3) if not channels[0] % g and not channels[1] % g]))
    }
    if alone:
        settings = {"groups": channels[0]}
    elif draw(st.booleans()):
        bits = draw(st.lists(st.booleans(), min_size=channels[0] * channels[1], max_size=channels[0] * channels[1]))
        if any(bits):
            settings = {"connections": np.array(bits).reshape(channels[1], channels[0])}
    if sharings and not alone:
        periods = per_axis(st.sampled_from([1, 2, "none"]))
        settings["sharing"] = draw(st.one_of(st.sampled_from(["full", "full", "none", 2]), periods))
    conv = Convolution(
        *channels,
        draw(per_axis(small)),
        stride=draw(st.one_of(st.just(1), per_axis(small))),
        padding=draw(st.one_of(st.sampled_from(["valid", "same", "full"]), pairs)),
        dilation=1 if alone else draw(per_axis(small)),
        bias=False,
        padding_mode=draw(st.sampled_from([*BOUNDARIES, "zeros"])),
        input_dilation=1 if alone else draw(st.one_of(st.just(1), per_axis(small))),
        **settings,
    )
    size = draw(per_axis(st.integers(1, 7 if ndim == 1 else 5 if ndim == 2 else 3)))
    try:
        conv.output_size(size)
    except ShapeError:
        size = tuple(12 for _ in range(ndim))
    return conv, size


def numbers(
    conv: Convolution, size: tuple[int, ...], dtype=torch.float64, seed: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    """An input of two images, weights, and a gradient of the output."""
    torch.manual_seed(seed)
    x = torch.randn(2, conv.in_channels, *size, dtype=dtype)
    weight = torch.randn(*conv.weight_shape(size), dtype=dtype)
    return x, weight, torch.randn(2, conv.out_channels, *conv.output_size(size), dtype=dtype)


def close(got: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-9)


def equals_reference(ops: Operations, conv: Convolution, size: tuple[int, ...]) -> None:
    """All three operations are those of the definition."""
    x, weight, grad = numbers(conv, size)
    close(ops.output(conv, x, weight), torch.from_numpy(reference.output(conv, x.numpy(), weight.numpy())))
    expected = reference.input_grad(conv, grad.numpy(), weight.numpy(), size)
    close(ops.input_grad(conv, grad, weight, size), torch.from_numpy(expected))
    close(ops.weight_grad(conv, x, grad), torch.from_numpy(reference.weight_grad(conv, x.numpy(), grad.numpy())))


def equals_matrix(ops: Operations, conv: Convolution, size: tuple[int, ...]) -> None:
    """The output is the sparse matrix times the input."""
    x, weight, _ = numbers(conv, size)
    product = (conv.matrix(weight.numpy(), size) @ x.flatten(1).numpy().T).T
    close(ops.output(conv, x, weight).flatten(1), torch.from_numpy(product))


def linear(ops: Operations, conv: Convolution, size: tuple[int, ...]) -> None:
    """Sums and multiples go through, in the input and in the weights."""
    x, weight, _ = numbers(conv, size)
    other, more, _ = numbers(conv, size, seed=1)
    sums = ops.output(conv, x, weight) + 2 * ops.output(conv, other, weight)
    close(ops.output(conv, x + 2 * other, weight), sums)
    close(ops.output(conv, x, weight - more), ops.output(conv, x, weight) - ops.output(conv, x, more))


def adjoint(ops: Operations, conv: Convolution, size: tuple[int, ...]) -> None:
    """<A x, y> == <x, A' y>, and the same for the weights."""
    x, weight, grad = numbers(conv, size)
    whole = (ops.output(conv, x, weight) * grad).sum()
    close((x * ops.input_grad(conv, grad, weight, size)).sum(), whole)
    close((weight * ops.weight_grad(conv, x, grad)).sum(), whole)


def impulse(ops: Operations, conv: Convolution, size: tuple[int, ...]) -> None:
    """A one alone gives the kernel of each place, reversed because the map is a correlation."""
    conv = Convolution.of_parts(conv.channels, [Axis(size, padding="full") for size in conv.kernel_size], conv.sharing)
    alone = (1,) * conv.ndim
    phases = conv.sharing.phases(conv.output_size(alone))
    weight = numbers(conv, alone)[1].reshape(*phases, conv.channels.count, *conv.kernel_size)
    x = torch.zeros(1, conv.in_channels, *alone, dtype=torch.float64)
    x[:, 0] = 1
    expected = torch.zeros(conv.out_channels, *conv.kernel_size, dtype=torch.float64)
    for number, (output, source) in enumerate(conv.channels.pairs()):
        for place in np.ndindex(*conv.kernel_size) if source == 0 else ():
            kernel = weight[tuple(p % period for p, period in zip(place, phases, strict=False))]
            expected[(output, *place)] = kernel[
                (number, *(k - 1 - p for k, p in zip(conv.kernel_size, place, strict=True)))
            ]
    close(ops.output(conv, x, weight.reshape(conv.weight_shape(alone)))[0], expected)


def equivariant(ops: Operations, conv: Convolution, size: tuple[int, ...]) -> None:
    """Around a circle, shifting the input by `stride * period` shifts the output by `period`."""
    if conv.sharing.needs_size or max(conv.input_dilation) > 1:
        return
    axes = [Axis(a.kernel, a.stride, a.dilation, (a.span - 1, 0), "circular") for a in conv.axes]
    conv = Convolution.of_parts(conv.channels, axes, conv.sharing)
    periods = conv.sharing.periods
    size = tuple(3 * step * (period or 1) for step, period in zip(conv.stride, periods, strict=True))
    x, weight, _ = numbers(conv, size)
    axes = tuple(range(2, 2 + conv.ndim))
    moved = x.roll(tuple(step * (period or 1) for step, period in zip(conv.stride, periods, strict=True)), axes)
    close(ops.output(conv, moved, weight), ops.output(conv, x, weight).roll(periods, axes))


LAWS = (equals_reference, equals_matrix, linear, adjoint, impulse, equivariant)


def flipped(ops: Operations) -> Operations:
    """Fault: the kernel reversed on the last axis."""
    return replace(ops, output=lambda conv, x, weight: ops.output(conv, x, weight.flip(-1)))


def shifted(ops: Operations) -> Operations:
    """Fault: the output one place further."""
    return replace(ops, output=lambda conv, x, weight: ops.output(conv, x, weight).roll(1, -1))


def bordered(ops: Operations) -> Operations:
    """Fault: the first output of the last axis dropped."""

    def output(conv: Convolution, x: Tensor, weight: Tensor) -> Tensor:
        y = ops.output(conv, x, weight).clone()
        y[..., 0] = 0
        return y

    return replace(ops, output=output)


def unclear(ops: Operations) -> Operations:
    """Fault: a constant added, which a bias would hide and a linear map must not have."""
    return replace(ops, output=lambda conv, x, weight: ops.output(conv, x, weight) + 0.1)


def crossed(ops: Operations) -> Operations:
    """Fault: the gradient of the input taken with the kernel reversed."""
    return replace(ops, input_grad=lambda conv, grad, weight, size: ops.input_grad(conv, grad, weight.flip(-1), size))


FAULTS = (flipped, shifted, bordered, unclear, crossed)
