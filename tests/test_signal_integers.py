"""Exact integers: whatever their size and the method, or an error that says so."""

from fractions import Fraction

import numpy as np
import pytest
import scipy.signal
import torch
from hypothesis import given, strategies as st

import torchconv as tc
from test_signal import MODES, nested, shapes
from torchconv import errors
from torchconv.signal.request import METHODS


def by_definition(a, b, mode):
    """The full convolution of two arrays of Python integers by plain loops, and the part that a mode keeps."""
    full = np.zeros([n + k - 1 for n, k in zip(a.shape, b.shape, strict=True)], object)
    for place in np.ndindex(*a.shape):
        for tap in np.ndindex(*b.shape):
            full[tuple(np.add(place, tap))] += int(a[place]) * int(b[tap])
    if mode == "full":
        return full
    if mode == "same":
        return full[tuple(slice((k - 1) // 2, (k - 1) // 2 + n) for n, k in zip(a.shape, b.shape, strict=True))]
    return full[tuple(slice(min(n, k) - 1, max(n, k)) for n, k in zip(a.shape, b.shape, strict=True))]


@given(
    shapes(12),
    st.sampled_from(MODES),
    st.sampled_from(METHODS),
    st.sampled_from([8, 20, 31, 40, 62, 63, 64, 200, 1500]),
    st.integers(1, 70),
    st.integers(0, 99),
)
def test_python_integers_are_exact(sizes, mode, method, bits, other, seed):
    rng = np.random.default_rng(seed)
    if mode == "valid" and not nested(*sizes):
        return

    def draw(shape, bits):
        x = np.empty(shape, object)
        for place in np.ndindex(*shape):
            x[place] = int.from_bytes(rng.bytes(bits // 8 + 1), "little") % 2 ** (bits + 1) - 2**bits
        return x

    a, b = draw(sizes[0], bits), draw(sizes[1], other)
    expected = by_definition(a, b, mode)
    got = tc.convolve(a, b, mode, method)
    assert got.dtype == object
    assert np.array_equal(got, expected)
    inside = min(expected.flat) >= -(2**63) and max(expected.flat) < 2**63
    if bits <= 62 and other <= 62:
        words = a.astype(np.int64), b.astype(np.int64)
        if inside:
            assert np.array_equal(tc.convolve(*words, mode, method), expected)
            assert np.array_equal(tc.convolve(*map(torch.tensor, words), mode, method).numpy(), expected)
        else:
            with pytest.raises(OverflowError, match="astype"):
                tc.convolve(*words, mode, method)


@pytest.mark.parametrize("kind", ["int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"])
@pytest.mark.parametrize("method", METHODS)
def test_the_last_number_that_fits_and_the_first_that_does_not(kind, method):
    limits = np.iinfo(kind)
    half = np.array([limits.max // 2, 1], kind)
    assert tc.convolve(half, np.array([2, 1], kind), method=method).tolist()[0] == limits.max // 2 * 2
    assert tc.convolve(np.array([limits.max, 0], kind), np.array([1, 0], kind), method=method)[0] == limits.max
    with pytest.raises(errors.IntegerOverflowError, match=f"type {kind}"):
        tc.convolve(np.array([limits.max, 1], kind), np.array([1, 1], kind), method=method)
    if limits.min < 0:
        assert tc.convolve(np.array([limits.min, 0], kind), np.array([1, 0], kind), method=method)[0] == limits.min
        with pytest.raises(errors.IntegerOverflowError, match="-"):
            tc.convolve(np.array([limits.min, -1], kind), np.array([1, 1], kind), method=method)
    else:
        most = 2 ** (limits.bits // 2 - 1)
        assert tc.convolve(np.array([most] * 3, kind), np.array([most] * 3, kind), method=method)[2] == 3 * most**2


@pytest.mark.parametrize("method", ["auto", "fft", "overlap"])
@pytest.mark.parametrize("bits", [10, 15, 20, 24])
def test_long_integers(method, bits):
    rng = np.random.default_rng(bits)
    a, b = (rng.integers(2**bits - 50, 2**bits, size) for size in (20_000, 700))
    assert np.array_equal(tc.convolve(a, b, method=method), np.convolve(a, b))


def test_where_scipy_wraps_around_or_rounds():
    small = np.full(4, 100, np.int8)
    assert scipy.signal.convolve(small, small).max() < 4 * 100**2
    with pytest.raises(errors.IntegerOverflowError, match="40000"):
        tc.convolve(small, small)
    assert tc.convolve(small.astype(np.int32), small).max() == 4 * 100**2
    a = np.full(3000, 2**31 - 1)
    exact = [(2**31 - 1) ** 2 * terms for terms in (1, 2)]
    assert tc.convolve(a, a[:2], "full").tolist()[:2] == exact
    assert np.round(scipy.signal.fftconvolve(a, a[:2])).astype(int).tolist()[:2] != exact
    with pytest.raises(errors.IntegerOverflowError):
        tc.convolve(a, a)
    assert scipy.signal.convolve(a, a, method="direct").min() < 0  # a sum of squares
    assert tc.convolve(a.astype(object), a)[2999] == 3000 * (2**31 - 1) ** 2


def test_numbers_of_hundreds_of_digits():
    rng = np.random.default_rng(0)
    a, b = (np.array([int.from_bytes(rng.bytes(150), "little") for _ in range(n)], object) for n in (300, 200))
    assert np.array_equal(tc.convolve(a, b), np.convolve(a, b))
    assert np.array_equal(tc.correlate(a, b, "same"), np.correlate(a, b, "same"))


def test_fractions_and_other_objects():
    a = np.array([Fraction(1, 3), 2, Fraction(-5, 7)], object)
    assert np.array_equal(tc.convolve(a, a), np.convolve(a, a))
    mixed = np.array([0.5, 2, Fraction(1, 2)], object)
    assert np.array_equal(tc.convolve(mixed, a[:2]), np.convolve(mixed, a[:2]))
    with pytest.raises(errors.UnsupportedError, match="float"):
        tc.convolve(mixed, a, method="fft")
