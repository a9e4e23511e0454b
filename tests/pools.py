"""Pooling as plain loops over its definition, and poolings drawn at random."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, strategies as st

from torchconv.description import shapes
from torchconv.description.pooling import Pooling
from torchconv.errors import ShapeError


def reference(x: np.ndarray, pooling: Pooling) -> np.ndarray:
    """Of an array (batch, channels, *size), in float64."""
    size = x.shape[2:]
    outputs = pooling.output_size(size)
    y = np.empty((*x.shape[:2], *outputs))
    weight = pooling.full_weight()
    for image, channel, *place in np.ndindex(*y.shape):
        values, weights = [], []
        for tap in np.ndindex(*pooling.kernel_size):
            at = [
                p * axis.stride + t * axis.dilation - shapes.padding(axis, n)[0]
                for p, t, axis, n in zip(place, tap, pooling.axes, size, strict=True)
            ]
            inside = all(0 <= a < n for a, n in zip(at, size, strict=True))
            if inside:
                values.append(x[(image, channel, *at)])
                weights.append(weight[tap])
            elif pooling.count_include_pad and all(
                -low <= a < n + high
                for a, n, axis in zip(at, size, pooling.axes, strict=True)
                for low, high in [shapes.padding(axis, n) if axis.padding == "same" else axis.padding]
            ):
                values.append(0.0)
                weights.append(weight[tap])
        y[(image, channel, *place)] = statistic(np.array(values), np.array(weights), pooling)
    return y


def statistic(values: np.ndarray, weights: np.ndarray, pooling: Pooling) -> float:
    if pooling.kind == "max":
        return values.max()
    if pooling.kind == "lp":
        return (abs(values) ** pooling.p).sum() ** (1 / pooling.p)
    return (values * weights).sum() / weights.sum()


@st.composite
def poolings(draw: st.DrawFn, ndims: tuple[int, ...] = (1, 2, 3)) -> tuple[Pooling, tuple[int, ...]]:
    """A pooling and the size of an input that it fits."""
    ndim = draw(st.sampled_from(ndims))
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(ndim))
    settings = {
        "stride": draw(st.none() | st.tuples(*[st.integers(1, 4)] * ndim)),
        "dilation": tuple(draw(st.sampled_from([1, 1, 2, 3])) for _ in range(ndim)),
        "padding": draw(
            st.sampled_from(["valid", "same"]) | st.tuples(*[st.tuples(st.integers(-1, 3), st.integers(-1, 3))] * ndim)
        ),
        "ceil_mode": draw(st.booleans()),
        "count_include_pad": draw(st.booleans()),
    }
    settings["statistic"] = draw(st.sampled_from(["max", "mean", "l2", "lp", "weighted"]))
    if settings["statistic"] == "lp":
        settings["p"] = draw(st.sampled_from([0.5, 1, 1.5, 3, 7.5, 40]))
    if settings["statistic"] == "weighted":
        numbers = st.floats(0.125, 2, width=16)
        settings["weight"] = draw(
            st.sampled_from(["binomial", "gaussian"])
            | st.lists(numbers, min_size=int(np.prod(kernel)), max_size=int(np.prod(kernel))).map(
                lambda row: np.reshape(row, kernel)
            )
        )
    size = tuple(draw(st.integers(1, 9)) for _ in range(ndim))
    cut = settings["padding"] not in ("valid", "same") and min(min(pair) for pair in settings["padding"]) < 0
    settings["ceil_mode"] = settings["ceil_mode"] and not cut
    pooling = Pooling(kernel, **settings)
    try:
        outputs = pooling.output_size(size)
    except ShapeError:
        outputs = None
    assume(outputs is not None and np.prod(outputs) * np.prod(kernel) < 4000)
    return pooling, size
