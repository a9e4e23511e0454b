"""Parameters and multiply-accumulates, from the parts of a description."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .axis import Axis
from .connections import Connections
from .shapes import customary_windows, output_sizes, reads
from .sharing import Sharing


def weight_shape(
    axes: Sequence[Axis], connections: Connections, sharing: Sharing, output_size: tuple[int, ...] | None
) -> tuple[int, ...]:
    """(*phases, out, in // groups, *kernel), or (*phases, connections, *kernel) for a table."""
    return (*sharing.phases(output_size), *connections.weight_shape, *(axis.kernel for axis in axes))


def macs(axes: Sequence[Axis], pairs: int, input_size: Sequence[int]) -> int:
    """Products with a real sample, for `pairs` channel pairs; products with padding are not counted."""
    return pairs * prod(reads(axis, size) for axis, size in zip(axes, input_size, strict=True))


def macs_ignoring_borders(axes: Sequence[Axis], pairs: int, input_size: Sequence[int]) -> int:
    """The customary count: every tap of every window; with input dilation, every tap of every input sample.

    A transposed convolution is thus counted by its inputs, each of which is multiplied with the whole kernel.
    """
    output_sizes(axes, input_size)  # raises where no window fits
    places = (customary_windows(axis, size) for axis, size in zip(axes, input_size, strict=True))
    return pairs * prod(places) * prod(axis.kernel for axis in axes)
