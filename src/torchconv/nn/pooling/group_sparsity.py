"""Softmax regression whose weights are sparse in groups: the proximal step of the L(1,inf) norm, and FISTA with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

POWER_STEPS = 30
ROUNDING = 1e-6  # of a loss, relative, in float32
STEEPEST = 1e12  # no step is shorter than one over this


def norm(weight: Tensor) -> Tensor:
    """Sum over the columns (features) of the largest absolute weight that any row (class) has there, a scalar.

    >>> norm(torch.tensor([[1.0, 0.0], [-3.0, 0.5]])).item()
    3.5
    """
    return weight.abs().amax(0).sum()


def shrunk(weight: Tensor, threshold: float) -> Tensor:
    """The minimiser of |v - weight|^2 / 2 + threshold * norm(v): (classes, features) to the same shape, exactly.

    By Moreau's identity it is the weight less its projection on the ball of the dual norm: per feature, the L1 ball of
    radius `threshold`. A feature whose absolute weights add up to no more than that becomes 0 for all classes.

    Source: Duchi, Shalev-Shwartz, Singer, Chandra 2008, Efficient projections onto the l1-ball, figure 1.

    >>> shrunk(torch.tensor([[0.5, 3.0], [-0.4, 1.0]]), 1.0)
    tensor([[0., 2.],
            [0., 1.]])
    """
    absolute = weight.abs()
    if threshold <= 0 or not weight.numel():
        return weight
    ranked = absolute.sort(0, descending=True).values
    counts = torch.arange(1, len(weight) + 1, dtype=weight.dtype, device=weight.device)[:, None]
    excess = (ranked.cumsum(0) - threshold) / counts
    kept = (ranked > excess).sum(0, keepdim=True).clamp(min=1)
    level = excess.gather(0, kept - 1).clamp(min=0)  # the largest absolute weight that is left
    small = absolute.sum(0, keepdim=True) <= threshold
    return torch.where(small, 0, weight.sign() * torch.minimum(absolute, level))


class Solution(NamedTuple):
    """Weights (classes, features), bias (classes,), and the objective after each step."""

    weight: Tensor
    bias: Tensor
    objective: list[float]


class Problem(NamedTuple):
    """Softmax regression on rows (samples, features) with labels, an L(1,inf) penalty and a ridge on the weights."""

    rows: Tensor
    labels: Tensor
    strength: float
    ridge: float

    def loss(self, weight: Tensor, bias: Tensor) -> float:
        """The mean cross-entropy and the ridge."""
        return self._measured(weight, functional.linear(self.rows, weight, bias))

    def gradient(self, weight: Tensor, bias: Tensor) -> tuple[float, Tensor, Tensor]:
        """The loss, and its gradients in weight and bias."""
        scores = functional.linear(self.rows, weight, bias)
        surplus = scores.softmax(1)
        surplus[torch.arange(len(surplus)), self.labels] -= 1
        surplus /= len(surplus)
        return self._measured(weight, scores), surplus.T @ self.rows + self.ridge * weight, surplus.sum(0)

    def _measured(self, weight: Tensor, scores: Tensor) -> float:
        return float(functional.cross_entropy(scores, self.labels) + self.ridge / 2 * weight.square().sum())

    def curvature(self) -> float:
        """A bound of the loss's second derivatives: half the largest eigenvalue of the rows' second moments, and more.

        Softmax has at most 1/2 (Boehning 1992, Multinomial logistic regression algorithm, section 2). The eigenvalue
        is found by power iteration, from below; a step that is too long for that is seen and halved.
        """
        vector = torch.ones(self.rows.shape[1] + 1, dtype=self.rows.dtype, device=self.rows.device)
        largest = 1.0
        for _ in range(POWER_STEPS):
            projected = self.rows @ vector[:-1] + vector[-1]
            vector = torch.cat([self.rows.T @ projected, projected.sum()[None]]) / len(self.rows)
            largest = float(vector.norm())
            vector /= max(largest, 1e-30)
        return 0.5 * max(largest, 1e-12) + self.ridge


def solve(
    problem: Problem,
    weight: Tensor,
    bias: Tensor,
    steps: int,
    tolerance: float,
    progress: Callable[[int, float], None] | None = None,
) -> Solution:
    """Minimise loss + strength * norm by FISTA, from weight and bias, until the objective hardly changes any more.

    tolerance: of the objective, relative, over ten steps. Momentum starts anew where the objective grew.
    Source: Beck, Teboulle 2009, A fast iterative shrinkage-thresholding algorithm for linear inverse problems,
    section 4 with backtracking; O'Donoghue, Candes 2015, Adaptive restart for accelerated gradient schemes, section 3.
    """
    curvature = problem.curvature()
    objective = [problem.loss(weight, bias) + problem.strength * float(norm(weight))]
    ahead, age = (weight, bias), 1.0
    for step in range(1, steps + 1):
        found, loss, curvature = _descended(problem, *ahead, curvature)
        value = loss + problem.strength * float(norm(found[0]))
        if value > objective[-1] and age > 1:
            ahead, age = (weight, bias), 1.0
            continue
        older, age = age, (1 + (1 + 4 * age**2) ** 0.5) / 2
        momentum = (older - 1) / age
        ahead = (found[0] + momentum * (found[0] - weight), found[1] + momentum * (found[1] - bias))
        weight, bias = found
        objective.append(value)
        if progress is not None:
            progress(step, value)
        if len(objective) > 10 and objective[-11] - value < tolerance * max(abs(value), 1e-12):
            break
    return Solution(weight, bias, objective)


def _descended(
    problem: Problem, weight: Tensor, bias: Tensor, curvature: float
) -> tuple[tuple[Tensor, Tensor], float, float]:
    """One proximal gradient step, shortened until the quadratic bound holds; with its loss and the curvature used."""
    loss, by_weight, by_bias = problem.gradient(weight, bias)
    while True:
        lower = shrunk(weight - by_weight / curvature, problem.strength / curvature)
        offset = bias - by_bias / curvature
        moved, shifted = lower - weight, offset - bias
        linear = float((by_weight * moved).sum() + (by_bias * shifted).sum())
        bound = loss + linear + curvature / 2 * float(moved.square().sum() + shifted.square().sum())
        reached = problem.loss(lower, offset)
        if reached <= bound + ROUNDING * abs(bound) or curvature > STEEPEST:
            return (lower, offset), reached, curvature
        curvature *= 2
