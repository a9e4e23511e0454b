"""Heat maps of parts refined by where parts lie around each other: priors that are learned as large convolutions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from itertools import combinations
from math import inf, prod
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..compute.functional import conv
from ..compute.tensors import autocast_dtype, check_tensors
from ..description.axis import flag, integer, plain, positive
from ..errors import DataError, SettingError, ShapeError

Pair = tuple[int, int]
EVERYWHERE = 0.01  # of a prior that is fitted, spread evenly
MOST_BEYOND = 0.1  # of the examples of a pair, that the kernel need not reach


class SpatialModel(torch.nn.Module):
    """Log-probabilities of places, (batch, parts, *size), one distribution for each part, from heat maps of parts.

    heat: (batch, parts, *size), numbers >= 0, of any scale; how a part detector sees each part by itself. Two parts
    that are a pair tell each other, by a convolution with a prior, where the other is to be expected:

        log p[a] = log heat[a] + sum over pairs (a, v) of log(prior[a | v] * heat[v] + background[v, a]) - log Z

    Heat maps are raised to `floor` times their largest number, and divided by their sums. Priors and backgrounds are
    positive, as softplus of what is learned, with sharpness `beta`. A prior lies on a kernel of odd `kernel_size`, and
    says where a is seen from v in its middle; places that are further away have the background only.

    pairs: of parts, as (0, 1), ...; None: all of them, and each part with itself. A part that is a pair with itself has
    its heat map convolved too, as in the paper; that of others is taken as it is.
    ndim: of the axes, where kernel_size is one number.
    rounds: 1, the paper's. In more rounds messages take on what others said, as in sum-product belief propagation;
    None: as many as the longest way through a tree, after which the distributions are its marginals.
    tied: one prior for both directions of a pair, mirrored, so that the model is a distribution over all parts; exact
    marginals need it. Without, each direction learns its own, as in the paper.

    Computed in float32 or float64. Raises SettingError, and ShapeError for heat maps of other shapes.
    Source: Tompson, Jain, LeCun, Bregler 2014, Joint training of a convolutional network and a graphical model for
    human pose estimation, section 3.2, equations 1 and 2; Pearl 1988, Probabilistic reasoning in intelligent systems,
    chapter 4, for more rounds.

    >>> heat = torch.tensor([[[0.0, 0, 0, 1, 0, 0, 0, 0], [0.0, 0.8, 0, 0, 0, 0.7, 0, 0]]])  # two that look like part 1
    >>> model = SpatialModel(2, (5,), [(0, 1)]).fit_priors([[[2], [4]], [[5], [7]], [[1], [3]]])
    >>> heat.argmax(2), model(heat).argmax(2)  # of which the one lies where part 1 lies beside part 0
    (tensor([[3, 1]]), tensor([[3, 5]]))
    """

    sources: Tensor
    targets: Tensor

    def __init__(
        self,
        parts: int,
        kernel_size: Any,
        pairs: Iterable[Sequence[int]] | None = None,
        *,
        rounds: int | None = 1,
        tied: bool = False,
        background: float = 1e-5,
        floor: float = 1e-3,
        beta: float = 1.0,
        ndim: int = 2,
    ) -> None:
        super().__init__()
        self.parts, self.tied = positive("parts", parts), flag("tied", tied)
        sizes = plain(kernel_size)
        sizes = sizes if isinstance(sizes, list) else [sizes] * positive("ndim", ndim)
        self.kernel_size = tuple(positive("kernel_size", one) for one in sizes)
        if any(size % 2 == 0 for size in self.kernel_size):
            raise SettingError("kernel_size", got=kernel_size, expected="odd sizes, with the other part in the middle")
        self.edges, self.selves = _graph(pairs, self.parts)
        self.rounds = _longest_way(self.edges) if rounds is None else positive("rounds", rounds)
        self.floor, self.beta = _number("floor", floor, 0, below=1), _number("beta", beta)
        first, second = ([edge[end] for edge in self.edges] for end in (0, 1))
        self.register_buffer("sources", torch.tensor(first + second, dtype=torch.int64), persistent=False)
        self.register_buffer("targets", torch.tensor(second + first, dtype=torch.int64), persistent=False)
        count = len(self.edges) * (1 if self.tied else 2) + len(self.selves)
        even = torch.full((count, *self.kernel_size), 1 / prod(self.kernel_size))
        self.raw_prior = torch.nn.Parameter(self._raw(even))
        known = torch.full((count,), _number("background", background))
        self.raw_background = torch.nn.Parameter(self._raw(known))

    def forward(self, heat: Tensor) -> Tensor:
        self._check(heat)
        device = heat.device.type
        with nullcontext() if autocast_dtype(device) is None else torch.autocast(device, enabled=False):
            heat = heat.to(torch.promote_types(torch.promote_types(heat.dtype, self.raw_prior.dtype), torch.float32))
            alone = self._normalised(heat)
            found = own = alone.log()
            if self.selves:
                several = torch.tensor(self.selves, device=heat.device)
                heard = self._heard(alone[:, several], *self._learned(heat.dtype, of_edges=False))
                found = own.index_copy(1, several, heard)
            if self.edges:
                found = found.index_add(1, self.targets, self._messages(alone, own))
            return functional.log_softmax(found.flatten(2), 2).unflatten(2, heat.shape[2:])

    def _messages(self, alone: Tensor, own: Tensor) -> Tensor:
        """Logarithms of what each edge says, both ways, (batch, 2 * edges, *size)."""
        learned, count = self._learned(alone.dtype), len(self.edges)
        said = self._heard(alone[:, self.sources], *learned)
        for _ in range(self.rounds - 1):
            told = own.index_add(1, self.targets, said)[:, self.sources]
            others = told - torch.cat([said[:, count:], said[:, :count]], 1)  # not what the listener said itself
            said = self._heard(functional.softmax(others.flatten(2), 2).view_as(others), *learned)
        return said

    def _heard(self, said: Tensor, prior: Tensor, background: Tensor) -> Tensor:
        """Where a part is to be expected, from where another one may be; its logarithm."""
        padding = tuple(size // 2 for size in self.kernel_size)
        expected = conv(said, prior[:, None], padding=padding, groups=len(prior), flip=True)
        level = background.reshape(-1, *[1] * len(padding))
        return (expected + level).clamp(min=torch.finfo(said.dtype).tiny).log()

    def _learned(self, dtype: torch.dtype, of_edges: bool = True) -> tuple[Tensor, Tensor]:
        """Priors and backgrounds of the edges, first all from first to second part, then back; or of the selves."""
        prior, background = (
            functional.softplus(raw.to(dtype), self.beta) for raw in (self.raw_prior, self.raw_background)
        )
        known = len(prior) - len(self.selves)
        if not of_edges:
            return prior[known:], background[known:]
        prior, background = prior[:known], background[:known]
        if self.tied:
            axes = tuple(range(1, prior.ndim))
            prior, background = torch.cat([prior, prior.flip(axes)]), torch.cat([background, background])
        return prior, background

    def _normalised(self, heat: Tensor) -> Tensor:
        largest = heat.detach().flatten(2).amax(2).reshape(*heat.shape[:2], *[1] * (heat.ndim - 2))
        raised = torch.maximum(heat, (self.floor * largest).clamp(min=torch.finfo(heat.dtype).tiny))
        return raised / raised.flatten(2).sum(2).reshape_as(largest)

    def _raw(self, positive: Tensor) -> Tensor:
        """What softplus makes these numbers of."""
        scaled = self.beta * positive
        return (scaled + torch.log(-torch.expm1(-scaled))) / self.beta

    def conditional(self, part: int, given: int) -> Tensor:
        """Where a part is expected around another one in the middle, (*kernel_size); not of one sum.

        Raises SettingError for parts that are no pair.
        """
        with torch.no_grad():
            if part == given and part in self.selves:
                return self._learned(self.raw_prior.dtype, of_edges=False)[0][self.selves.index(part)]
            ways = list(zip(self.sources.tolist(), self.targets.tolist(), strict=True))
            if (given, part) not in ways:
                raise SettingError("parts of a spatial model", got=f"({part}, {given})", expected="a pair of it")
            return self._learned(self.raw_prior.dtype)[0][ways.index((given, part))]

    @torch.no_grad()
    def fit_priors(self, places: Any, smoothing: float = 1.0) -> SpatialModel:
        """Set the priors to the smoothed histograms of where parts lay around each other, and return the model.

        places: (examples, parts, axes) in pixels; NaN where a part was not seen. smoothing: width of a Gaussian, in
        pixels. Raises DataError for a pair that is never seen, or in more than a tenth of the examples further apart
        than the kernel reaches; ShapeError for other shapes. Source: Tompson et al. 2014, section 3.2, last paragraph.
        """
        places = torch.as_tensor(places, dtype=torch.float64).cpu()
        if places.ndim != 3 or places.shape[1:] != (self.parts, len(self.kernel_size)):
            expected = f"(examples, {self.parts} parts, {len(self.kernel_size)} axes)"
            raise ShapeError("places of parts", got=f"shape {tuple(places.shape)}", expected=expected)
        ways = self.edges + ([] if self.tied else [(b, a) for a, b in self.edges]) + [(a, a) for a in self.selves]
        found = [_histogram(places[:, b] - places[:, a], self.kernel_size, smoothing, (a, b)) for a, b in ways]
        if found:
            self.raw_prior.copy_(self._raw(torch.stack(found)))
        return self

    def _check(self, heat: Tensor) -> None:
        check_tensors(heat=heat)
        if heat.ndim != len(self.kernel_size) + 2 or heat.shape[1] != self.parts or 0 in heat.shape[2:]:
            expected = f"(batch, {self.parts} parts, {len(self.kernel_size)} sizes)"
            raise ShapeError("heat maps of a spatial model", got=f"shape {tuple(heat.shape)}", expected=expected)
        if not heat.is_floating_point():
            expected = "numbers with fractions"
            raise SettingError("heat maps of a spatial model", got=f"{heat.dtype}", expected=expected)

    def extra_repr(self) -> str:
        kernel = "x".join(map(str, self.kernel_size))
        return f"{self.parts} parts, kernel={kernel}, edges={len(self.edges)}, rounds={self.rounds}, tied={self.tied}"


def _graph(pairs: Iterable[Sequence[int]] | None, parts: int) -> tuple[list[Pair], list[int]]:
    """Pairs of different parts, and parts that are a pair with themselves."""
    if pairs is None:
        return list(combinations(range(parts), 2)), list(range(parts))
    found: list[Pair] = []
    for pair in pairs:
        ends = [integer("part of a pair", one) for one in plain(tuple(pair))]
        if len(ends) != 2 or not all(0 <= end < parts for end in ends):
            raise SettingError("pairs", got=tuple(ends), expected=f"two parts from 0 to {parts - 1}")
        if tuple(ends) in found or tuple(reversed(ends)) in found:
            raise SettingError("pairs", got=tuple(ends), expected="each pair once")
        found.append((ends[0], ends[1]))
    return [pair for pair in found if pair[0] != pair[1]], [pair[0] for pair in found if pair[0] == pair[1]]


def _longest_way(edges: Sequence[Pair]) -> int:
    """Edges on the longest way through trees; raises SettingError where there are loops."""
    near: dict[int, list[int]] = {}
    for a, b in edges:
        near.setdefault(a, []).append(b)
        near.setdefault(b, []).append(a)
    longest = 1
    for start in near:
        steps, waiting = {start: 0}, [(start, start)]
        for part, before in waiting:
            for other in near[part]:
                if other == before:
                    continue
                if other in steps:
                    what = "rounds of messages on pairs that form a loop"
                    raise SettingError(what, got="None", expected="a number", fix="Only trees have a last round.")
                steps[other] = steps[part] + 1
                waiting.append((other, part))
        longest = max(longest, *steps.values())
    return longest


def _histogram(away: Tensor, kernel: Sequence[int], smoothing: float, way: Pair) -> Tensor:
    """Of distances (examples, axes), smoothed, and nowhere zero."""
    from scipy.ndimage import gaussian_filter  # here, because whoever learns priors otherwise need not wait for it

    radius = torch.tensor([size // 2 for size in kernel])
    seen = away[away.isfinite().all(1)].round().to(torch.int64)
    cells = seen[(seen.abs() <= radius).all(1)] + radius
    if len(seen) == 0 or len(seen) - len(cells) > MOST_BEYOND * len(seen):
        got = f"{len(seen) - len(cells)} of {len(seen)} examples with them further apart than the kernel reaches"
        reach = tuple((2 * seen.abs().amax(0) + 1).tolist()) if len(seen) else ()
        fix = f"kernel_size={reach} reaches all; or leave the pair out." if len(seen) else "Or leave the pair out."
        raise DataError(f"places of parts {way[0]} and {way[1]}", got=got, expected="few, of some", fix=fix)
    counts = torch.zeros(*kernel, dtype=torch.float64)
    counts.index_put_(tuple(cells.T), torch.ones(len(cells), dtype=torch.float64), accumulate=True)
    smooth = torch.from_numpy(gaussian_filter(counts.numpy(), smoothing, mode="constant"))
    smooth = smooth / smooth.sum() + EVERYWHERE / prod(kernel)
    return (smooth / smooth.sum()).float()


def _number(name: str, value: Any, least: float | None = None, below: float = inf) -> float:
    """A number > 0, or from `least` on."""
    value = plain(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (value > 0 if least is None else value >= least) or not value < below:
        expected = "a number > 0" if least is None else f"a number >= {least}, < {below}"
        raise SettingError(name, got=repr(value), expected=expected)
    return float(value)
