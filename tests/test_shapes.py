"""Sizes and positions against torch, NumPy and brute force."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, strategies as st

from torchconv.description import shapes
from torchconv.description.axis import BOUNDARIES, Axis
from torchconv.description.interval import fit
from torchconv.errors import ShapeError, TorchconvError

axes = st.builds(
    Axis,
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 4),
    st.one_of(st.sampled_from(["valid", "same", "full"]), st.tuples(st.integers(-2, 6), st.integers(-2, 6))),
    st.sampled_from(BOUNDARIES),
    st.integers(1, 4),
)
sizes = st.integers(1, 12)


@given(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.integers(0, 4), st.integers(1, 14))
def test_output_size_is_torchs(kernel, stride, dilation, padding, size):
    axis = Axis(kernel, stride, dilation, padding)
    if shapes.output_size(axis, size) < 1:
        return
    y = F.conv1d(torch.zeros(1, 1, size), torch.zeros(1, 1, kernel), None, stride, padding, dilation)
    assert shapes.output_size(axis, size) == y.shape[-1]


@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.integers(1, 20))
def test_same_gives_ceil_of_size_over_stride(kernel, stride, dilation, size):
    axis = Axis(kernel, stride, dilation, "same")
    low, high = shapes.padding(axis, size)
    assert shapes.output_size(axis, size) == -(-size // stride)
    assert 0 <= high - low <= 1


@given(axes, sizes)
def test_sources_are_those_of_numpys_padding(axis, size):
    """Mark every sample with its number, put zeros between, pad with NumPy, and look what each tap meets."""
    marked = np.full(shapes.dilated(axis, size), -1)
    marked[:: axis.input_dilation] = np.arange(size)
    low, high = shapes.padding(axis, size)
    if shapes.output_size(axis, size) < 1:
        return
    mode = {"zeros": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[axis.boundary]
    extra = {"constant_values": -1} if mode == "constant" else {}
    padded = np.pad(marked, (max(low, 0), max(high, 0)), mode=mode, **extra)
    padded = padded[max(-low, 0) : len(padded) - max(-high, 0)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, axis.span)[:: axis.stride, :: axis.dilation]
    assert np.array_equal(shapes.sources(axis, size), windows)


@given(axes, sizes)
def test_counts_of_taps_and_unread_samples(axis, size):
    if shapes.output_size(axis, size) < 1:
        return
    table = shapes.sources(axis, size)
    assert np.array_equal(shapes.reads_per_tap(axis, size), (table >= 0).sum(axis=0))
    assert shapes.reads(axis, size) == (table >= 0).sum()
    unread = set(range(size)) - set(table[table >= 0].tolist())
    assert {i for first, last in fit(axis, size).unread for i in range(first, last + 1)} == unread


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_bounded_is_the_same_for_numbers_and_arrays(boundary):
    for length in (1, 2, 5):
        array = shapes.bounded(np.arange(-9, 15), length, boundary)
        assert [shapes.bounded(position, length, boundary) for position in range(-9, 15)] == array.tolist()


def test_long_kernels_need_no_table():
    axis = Axis(100_000, padding="same")
    assert fit(axis, 2_000_000).exact
    per_tap = shapes.reads_per_tap(axis, 2_000_000)
    low, high = shapes.padding(axis, 2_000_000)
    assert (per_tap[0], per_tap[low], per_tap[-1]) == (2_000_000 - low, 2_000_000, 2_000_000 - high)


@given(axes, st.integers(1, 12))
def test_windows_on_padding_only_are_found(axis: Axis, size: int):
    try:
        count = shapes.output_size(axis, size)
    except TorchconvError:
        return
    if axis.boundary == "zeros" and count > 0:
        assert shapes.has_empty_window(axis, size) == (shapes.sources(axis, size) < 0).all(axis=1).any()


def test_huge_kernels_are_counted_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shapes.reads(Axis(1024, padding="same", boundary="circular"), 96_000) == 1024 * 96_000
    with pytest.raises(ShapeError, match="at most 1000000 taps"):
        shapes.reads(Axis(10**9, padding="full", input_dilation=2), 32)
    axis = Axis(7, stride=2, dilation=3, padding=(9, 4))
    expected = shapes.reads(axis, 12)
    monkeypatch.setattr(shapes, "MOST_TAPS", 0)
    assert shapes.reads(axis, 12) == expected
