"""A mean field in plain sums over pairs, in NumPy and float64: slow, and written apart from the package."""

from __future__ import annotations

from itertools import product

import numpy as np


def mean_field(scores, image, window, iterations, *, dilation=None, smoothness=None, appearance=None, matrix=None,
               normalized=True):  # fmt: skip
    """Probabilities (classes, *size) of one image; smoothness: weight and widths, appearance: also those of colors."""
    classes, *size = scores.shape
    places = list(product(*map(range, size)))
    dilation = dilation or [1] * len(size)
    costs = np.zeros((len(places), len(places)))
    for kind in (smoothness, appearance):
        if kind is None:
            continue
        kernel = np.zeros_like(costs)
        for a, p in enumerate(places):
            for b, q in enumerate(places):
                steps = [(j - i) / step for i, j, step in zip(p, q, dilation, strict=True)]
                if a == b or any(s != int(s) or abs(s) > w // 2 for s, w in zip(steps, window, strict=True)):
                    continue
                exponent = sum(((j - i) / width) ** 2 for i, j, width in zip(p, q, kind[1], strict=True))
                if kind is appearance:
                    exponent += (((image[(slice(None), *p)] - image[(slice(None), *q)]) / np.array(kind[2])) ** 2).sum()
                kernel[a, b] = np.exp(-exponent / 2)
        if normalized:
            sums = 1 + kernel.sum(1)
            kernel = kernel / np.sqrt(sums[:, None] * sums[None, :])
        costs += kind[0] * kernel
    matrix = 1 - np.eye(classes) if matrix is None else matrix
    unary = scores.reshape(classes, -1).T
    q = softmax(unary)
    for _ in range(iterations):
        q = softmax(unary - (costs @ q) @ matrix.T)
    return q.T.reshape(scores.shape)


def softmax(rows):
    found = np.exp(rows - rows.max(1, keepdims=True))
    return found / found.sum(1, keepdims=True)
