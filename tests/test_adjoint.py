"""The adjoint of a convolution is a convolution, for the whole family."""

import numpy as np
import pytest
from hypothesis import given

from laws import problems
from torchconv.description import shapes
from torchconv.description.axis import Axis
from torchconv.description.convolution import Convolution
from torchconv.errors import UnsupportedError


def adjoint_weight(conv: Convolution, weight: np.ndarray, input_size: tuple[int, ...]) -> np.ndarray:
    """The weights of `conv.adjoint(input_size)`: those of `conv`, flipped, swapped and re-phased."""
    turned = conv.adjoint(input_size)
    place = {pair: number for number, pair in enumerate(conv.channels.pairs())}
    order = [place[target, source] for source, target in turned.channels.pairs()]
    phases = conv.sharing.phases(conv.output_size(input_size)) or (1,) * conv.ndim
    values = weight.reshape(*phases, len(place), *conv.kernel_size)
    values = np.take(values, order, axis=conv.ndim)
    for number, (axis, size) in enumerate(zip(conv.axes, input_size, strict=True)):
        if conv.sharing.is_full:
            values = np.flip(values, conv.ndim + 1 + number)
        else:
            values = _rephased(values, number, axis, turned.sharing.periods[number], size)
    return values.reshape(turned.weight_shape(conv.output_size(input_size)))


def _rephased(values: np.ndarray, number: int, axis: Axis, period: int | None, size: int) -> np.ndarray:
    """Kernels (*phases, channels, *kernel) by phase of the input instead of the output, flipped, on one axis."""
    ndim = (values.ndim - 1) // 2
    taps = np.arange(axis.kernel)[::-1]
    inputs = np.arange(size if period is None else period)[:, None]
    positions = inputs * axis.input_dilation + shapes.padding(axis, size)[0] - taps * axis.dilation
    outputs, met = positions // axis.stride, positions % axis.stride == 0
    if period is None:
        met &= (outputs >= 0) & (outputs < shapes.output_size(axis, size))
    moved = np.moveaxis(values, (number, ndim + 1 + number), (0, 1))
    rephased = moved[outputs % len(moved), np.broadcast_to(taps, outputs.shape)]
    rephased = np.where(met.reshape(met.shape + (1,) * (moved.ndim - 2)), rephased, 0)  # no sample: 0
    return np.moveaxis(rephased, (0, 1), (number, ndim + 1 + number))


@given(problems())
def test_its_matrix_is_the_transpose(problem):
    conv, size = problem
    if any(axis.boundary != "zeros" for axis in conv.axes):
        with pytest.raises(UnsupportedError, match="Pad first"):
            conv.adjoint(size)
        return
    weight = np.random.default_rng(0).normal(size=conv.weight_shape(size))
    turned = conv.adjoint(size)
    outputs = conv.output_size(size)
    assert turned.output_size(outputs) == size
    difference = turned.matrix(adjoint_weight(conv, weight, size), outputs) - conv.matrix(weight, size).T
    assert abs(difference).sum() < 1e-9


@given(problems())
def test_sizes_and_products_are_those_of_the_transpose(problem):
    conv, size = problem
    if all(axis.boundary == "zeros" for axis in conv.axes):
        turned, outputs = conv.adjoint(size), conv.output_size(size)
        assert (turned.in_channels, turned.out_channels, turned.bias) == (conv.out_channels, conv.in_channels, False)
        assert (turned.output_size(outputs), turned.macs(outputs)) == (size, conv.macs(size))


def test_a_tiled_convolution_has_a_tiled_adjoint():
    turned = Convolution(1, 1, (3,), stride=2, sharing=3, bias=False).adjoint(13)
    assert turned.sharing.periods == (6,)


def test_twice_is_the_same_map():
    conv = Convolution(2, 3, (3, 2), stride=(2, 1), padding=((1, 0), (0, 1)), dilation=(1, 2), bias=False)
    size = (7, 6)
    back = conv.adjoint(size).adjoint(conv.output_size(size))
    weight = np.random.default_rng(0).normal(size=conv.weight_shape())
    twice = adjoint_weight(conv.adjoint(size), adjoint_weight(conv, weight, size), conv.output_size(size))
    assert abs(back.matrix(twice, size) - conv.matrix(weight, size)).sum() == 0
