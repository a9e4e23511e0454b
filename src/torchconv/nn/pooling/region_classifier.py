"""Softmax regression whose weights are sparse in groups: the proximal step of the L(1,inf) norm, and FISTA with it."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ...description.axis import plain, positive
from ...errors import DataError, SettingError, ShapeError
from . import grid_pool
from .region_pool import region_pool

Progress = Callable[[int, float], None]
POWER_STEPS = 30
ROUNDS = 20  # of grafting
TOGETHER = 256  # images that are pooled at a time
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


class SparseRegression(NamedTuple):
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
        surplus = (scores.softmax(1) - functional.one_hot(self.labels, scores.shape[1])) / len(scores)
        return self._measured(weight, scores), surplus.T @ self.rows + self.ridge * weight, surplus.sum(0)

    def _measured(self, weight: Tensor, scores: Tensor) -> float:
        return float(functional.cross_entropy(scores, self.labels) + self.ridge / 2 * weight.square().sum())

    def curvature(self) -> float:
        """A bound of the loss's second derivatives: half the largest eigenvalue of the rows' second moments, and more.

        Softmax has at most 1/2 (Boehning 1992, Multinomial logistic regression algorithm, section 2). The eigenvalue
        is found by power iteration, from below; a step that is too long for that is seen and halved.
        """
        vector = self.rows.new_ones(self.rows.shape[1] + 1)
        largest = 1.0
        for _ in range(POWER_STEPS):
            projected = self.rows @ vector[:-1] + vector[-1]
            vector = torch.cat([self.rows.T @ projected, projected.sum()[None]]) / len(self.rows)
            largest = float(vector.norm())
            vector /= max(largest, 1e-30)
        return 0.5 * max(largest, 1e-12) + self.ridge


def solve(
    problem: SparseRegression,
    weight: Tensor,
    bias: Tensor,
    steps: int,
    tolerance: float,
    progress: Progress | None = None,
) -> tuple[Tensor, Tensor, list[float]]:
    """Minimise loss + strength * norm by FISTA, from weight and bias, until the objective hardly changes any more.

    Returns weight (classes, features), bias (classes,), and the objective after each step.
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
    return weight, bias, objective


def _descended(
    problem: SparseRegression, weight: Tensor, bias: Tensor, curvature: float
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


class RegionClassifier(torch.nn.Module):
    """Class scores linear in pooled regions, of which a group-sparse penalty selects few.

    Input (batch, channels, *size); output (batch, classes). Regions are the boxes of a grid, `RegionPool`'s; pooled
    values are brought to mean 0 and standard deviation 1, as found by `fit`, before they are weighted.

    channels, classes: integers >= 1. grid: cells per axis; an int is for `ndim` axes, a tuple has its own.
    strength: of the penalty sum_i max_j |W_ji| over pooled features i and classes j, which makes the weights of whole
    features 0. ridge: of the penalty sum W^2 / 2 beside it. The loss is the mean cross-entropy.
    State: weight (classes, channels * regions), bias (classes,), shift and scale of the features. It begins at 0.
    Raises ShapeError for features of other channels.

    Source: Jia, Huang, Darrell 2012, Beyond spatial pyramids: receptive field learning for pooled image features,
    section 3, "Receptive field learning for pooled features": classifier and regions are learned together from an
    over-complete set, min (1/N) sum l(W'x + b, y) + (ridge/2) |W|^2 + strength |W|_(1,inf), by that structured
    sparsity, or by greedy selection of features with retraining, grafting.

    >>> x = torch.randn(60, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> labels = (x[:, 1, :2].mean((1, 2)) > 0).long()
    >>> learned = RegionClassifier(3, 2, grid=2, statistic="mean").fit(x, labels, strength=0.2)
    >>> [(channel, learned.pool.regions[region]) for channel, region in learned.selected]
    [(1, ((0, 1), (0, 2)))]
    """

    shift: Tensor
    scale: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        grid: Any = 4,
        statistic: str = "max",
        strength: float = 0.01,
        ridge: float = 0.0,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        self.channels, self.classes = positive("channels", channels), positive("classes", classes)
        given = plain(grid)
        rank = len(given) if isinstance(given, list) else positive("ndim", ndim)
        if rank not in (1, 2, 3):
            raise SettingError("axes of the grid", got=rank, expected="1, 2 or 3")
        self.pool = region_pool(tuple(given) if isinstance(given, list) else (given,) * rank, statistic)
        self.strength, self.ridge = _strength("strength", strength), _strength("ridge", ridge)
        features = self.channels * len(self.pool.regions)
        self.weight = torch.nn.Parameter(torch.zeros(self.classes, features))
        self.bias = torch.nn.Parameter(torch.zeros(self.classes))
        self.register_buffer("shift", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))

    def forward(self, x: Tensor) -> Tensor:
        whole, _ = grid_pool.batched(x, self.pool.ndim, self.channels, "input")
        scores = functional.linear(self.pool(whole).flatten(1), *self._folded())
        return scores if whole is x else scores[0]

    def penalty(self) -> Tensor:
        """strength * sum_i max_j |W_ji| + ridge * sum W^2 / 2, to add to the loss of any training loop."""
        return self.strength * norm(self.weight) + self.ridge / 2 * self.weight.square().sum()

    @torch.no_grad()
    def shrink_(self, step: float) -> RegionClassifier:
        """The exact proximal step of the selecting penalty, after a gradient step of this length on the rest."""
        self.weight.copy_(shrunk(self.weight, self.strength * _strength("step", step)))
        return self

    @property
    def selected(self) -> list[tuple[int, int]]:
        """The (channel, region) pairs whose weights are not all 0."""
        found = self.weight.detach().any(0).nonzero().flatten().tolist()
        return [divmod(feature, len(self.pool.regions)) for feature in found]

    def largest_strength(self, features: Tensor, labels: Tensor) -> float:
        """The smallest strength at which nothing is selected: the largest sum_j |d loss / d W_ji| at weight 0."""
        problem, _ = self._problem(features, labels, 0.0)
        _, by_weight, _ = problem.gradient(*_nothing(problem, self.classes))
        return float(by_weight.abs().sum(0).max())

    @torch.no_grad()
    def fit(
        self,
        features: Tensor,
        labels: Tensor,
        strength: float | None = None,
        steps: int = 500,
        tolerance: float = 1e-5,
        progress: Progress | None = None,
    ) -> RegionClassifier:
        """Minimise loss and penalty over all images, by proximal gradients with momentum, and return the classifier.

        features (images, channels, *size), labels (images,) integers below `classes`. strength: the layer's if None.
        tolerance: relative change of the objective over ten steps at which it is done. progress: called with the step
        and the objective.
        """
        if strength is not None:
            self.strength = _strength("strength", strength)
        problem, scaling = self._problem(features, labels, self.strength)
        start = _nothing(problem, self.classes)
        weight, bias, _ = solve(problem, *start, positive("steps", steps), tolerance, progress)
        return self._take(weight, bias, scaling)

    @torch.no_grad()
    def graft(
        self,
        features: Tensor,
        labels: Tensor,
        count: int,
        at_once: int | None = None,
        steps: int = 100,
        tolerance: float = 1e-4,
        progress: Progress | None = None,
    ) -> RegionClassifier:
        """Select `count` features greedily, those of the largest gradient again and again, and return the classifier.

        Each round adds the `at_once` features (a twentieth of count if None; the paper adds one) with the largest
        sum_j (d loss / d W_ji)^2 to the active ones, and trains the weights of these, from those before, with `ridge`.

        Source: Jia, Huang, Darrell 2012, as above; Perkins, Lacker, Theiler 2003, Grafting, section 4.
        """
        problem, scaling = self._problem(features, labels, 0.0)
        total = problem.rows.shape[1]
        if positive("count", count) > total:
            raise SettingError("count of features", got=count, expected=f"at most {total}: channels times regions")
        each = max(1, count // ROUNDS) if at_once is None else positive("at_once", at_once)
        weight, bias = _nothing(problem, self.classes)
        active: list[int] = []
        while len(active) < count:
            _, by_weight, _ = problem.gradient(weight, bias)
            scores = by_weight.square().sum(0)
            scores[active] = -1
            active += scores.topk(min(each, count - len(active))).indices.tolist()
            part = problem._replace(rows=problem.rows[:, active])
            start = weight[:, active], bias
            weight[:, active], bias, objective = solve(part, *start, positive("steps", steps), tolerance)
            if progress is not None:
                progress(len(active), objective[-1])
        return self._take(weight, bias, scaling)

    def prune(self) -> torch.nn.Sequential:
        """The small module that pools the selected regions only and gives the same scores, up to rounding.

        Raises SettingError where nothing is selected.
        """
        pairs = self.selected
        if not pairs:
            fix = "Fit with less strength; largest_strength(features, labels) says from where on nothing is left."
            raise SettingError("pruning to the selected regions", got="none selected", fix=fix)
        pool = self.pool.select(pairs)
        columns = pool.pairs[:, 0] * len(self.pool.regions) + pool.pairs[:, 1]
        weight, bias = self._folded()
        linear = torch.nn.Linear(len(pairs), self.classes, device="meta")
        linear.weight, linear.bias = (torch.nn.Parameter(one.detach()) for one in (weight[:, columns], bias))
        return torch.nn.Sequential(pool, linear)

    def _folded(self) -> tuple[Tensor, Tensor]:
        """Weight and bias for features as they are pooled."""
        weight = self.weight / self.scale
        return weight, self.bias - weight @ self.shift

    def _problem(
        self, features: Tensor, labels: Tensor, strength: float
    ) -> tuple[SparseRegression, tuple[Tensor, Tensor]]:
        """The pooled features of all images at mean 0 and deviation 1, with their labels; the shift and scale used."""
        whole, _ = grid_pool.batched(features, self.pool.ndim, self.channels, "features")
        found = _labels(labels, len(whole), self.classes).to(whole.device)
        with torch.no_grad():
            rows = torch.cat([self.pool(part).flatten(1) for part in whole.split(TOGETHER)]).to(self.weight.dtype)
            shift = rows.mean(0)
            rows -= shift
            deviation = rows.square().mean(0).sqrt()
            if not torch.isfinite(deviation).all():
                raise DataError("features to select from", got="NaN or Inf", expected="finite numbers")
            scale = torch.where(deviation > 0, deviation, 1)  # what never changes stays at 0
            rows /= scale
        return SparseRegression(rows, found, strength, self.ridge), (shift, scale)

    def _take(self, weight: Tensor, bias: Tensor, scaling: tuple[Tensor, Tensor]) -> RegionClassifier:
        for own, found in zip((self.weight, self.bias, self.shift, self.scale), (weight, bias, *scaling), strict=True):
            own.copy_(found)
        return self

    def extra_repr(self) -> str:
        return f"channels={self.channels}, classes={self.classes}, strength={self.strength}, ridge={self.ridge}"


def _nothing(problem: SparseRegression, classes: int) -> tuple[Tensor, Tensor]:
    """Weights of 0 and the bias that is best with them: the logarithms of how frequent the classes are."""
    frequencies = torch.bincount(problem.labels, minlength=classes).to(problem.rows) / len(problem.labels)
    return problem.rows.new_zeros(classes, problem.rows.shape[1]), frequencies.clamp(min=1e-6).log()


def _strength(name: str, value: Any) -> float:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (isfinite(value) and value >= 0):
        raise SettingError(name, got=repr(value), expected="a number >= 0")
    return float(value)


def _labels(labels: Any, images: int, classes: int) -> Tensor:
    try:
        found = torch.as_tensor(labels)
    except (TypeError, ValueError, RuntimeError) as error:
        raise DataError("labels", got=type(labels).__name__, expected="integers") from error
    if found.shape != (images,) or not images:
        raise ShapeError("labels", got=f"shape {tuple(found.shape)}", expected=f"one for each of {images} images, >= 1")
    if found.is_floating_point() or found.is_complex() or found.dtype == torch.bool:
        raise DataError("labels", got=found.dtype, expected="integers")
    if found.min() < 0 or found.max() >= classes:
        got = f"{int(found.min())} to {int(found.max())}"
        raise DataError("labels", got=got, expected=f"0 to {classes - 1} for {classes} classes")
    return found.long()
