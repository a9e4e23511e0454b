"""The adjoint of a convolution is a convolution, for the whole family."""

import numpy as np
import pytest
from hypothesis import given

from laws import problems
from torchconv.description.convolution import Convolution
from torchconv.description.transposed import adjoint, adjoint_weight
from torchconv.errors import UnsupportedError


@given(problems())
def test_its_matrix_is_the_transpose(problem):
    conv, size = problem
    if any(axis.boundary != "zeros" for axis in conv.axes):
        with pytest.raises(UnsupportedError, match="Pad first"):
            adjoint(conv, size)
        return
    weight = np.random.default_rng(0).normal(size=conv.weight_shape(size))
    turned = adjoint(conv, size)
    outputs = conv.output_size(size)
    assert turned.output_size(outputs) == size
    difference = turned.matrix(adjoint_weight(conv, weight, size), outputs) - conv.matrix(weight, size).T
    assert abs(difference).sum() < 1e-9


def test_a_tiled_convolution_has_a_tiled_adjoint():
    turned = adjoint(Convolution(1, 1, (3,), stride=2, sharing=3, bias=False), 13)
    assert turned.sharing.periods == (6,)


def test_twice_is_the_same_map():
    conv = Convolution(2, 3, (3, 2), stride=(2, 1), padding=((1, 0), (0, 1)), dilation=(1, 2), bias=False)
    size = (7, 6)
    back = adjoint(adjoint(conv, size), conv.output_size(size))
    weight = np.random.default_rng(0).normal(size=conv.weight_shape())
    twice = adjoint_weight(adjoint(conv, size), adjoint_weight(conv, weight, size), conv.output_size(size))
    assert abs(back.matrix(twice, size) - conv.matrix(weight, size)).sum() == 0
