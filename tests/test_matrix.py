"""The sparse matrix is the one of the textbooks."""

import numpy as np
import scipy.linalg

from torchconv.description.convolution import Convolution


def test_one_axis_is_toeplitz_and_around_a_circle_circulant():
    kernel = np.array([1.0, 2.0, 3.0])
    full = Convolution(1, 1, (3,), padding="full", bias=False).matrix(kernel, 4).toarray()
    assert np.array_equal(full, scipy.linalg.toeplitz([3, 2, 1, 0, 0, 0], [3, 0, 0, 0]))
    wrapped = (
        Convolution(1, 1, (3,), padding=((2, 0),), padding_mode="circular", bias=False).matrix(kernel, 5).toarray()
    )
    assert np.array_equal(wrapped, scipy.linalg.circulant([3, 2, 1, 0, 0]))


def test_two_axes_are_doubly_block_circulant():
    kernel = np.arange(6.0).reshape(1, 1, 2, 3)
    matrix = Convolution(1, 1, (2, 3), padding=((1, 0), (2, 0)), padding_mode="circular", bias=False).matrix(
        kernel, (3, 4)
    )
    blocks = matrix.toarray().reshape(3, 4, 3, 4).swapaxes(1, 2)
    for row in range(3):
        for column in range(3):
            assert np.array_equal(blocks[row, column], blocks[(row + 1) % 3, (column + 1) % 3])
            assert np.array_equal(blocks[row, column], scipy.linalg.circulant(blocks[row, column][:, 0]))


def test_unshared_has_the_zeros_of_shared_and_no_two_equal_weights():
    conv = Convolution(1, 1, (3,), sharing="none", bias=False)
    weight = np.arange(1.0, 1 + 4 * 3).reshape(4, 1, 1, 3)
    matrix = conv.matrix(weight, 6)
    assert matrix.nnz == len(set(matrix.data)) == 12
    shared = Convolution(1, 1, (3,), bias=False).matrix(np.ones((1, 1, 3)), 6)
    assert np.array_equal(matrix.toarray() != 0, shared.toarray() != 0)
