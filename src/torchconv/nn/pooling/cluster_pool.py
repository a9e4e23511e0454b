"""Dynamic pooling: features are pooled by the cluster and the cell they fall in, so every image has its own regions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from math import prod
from typing import Any, ClassVar

import torch
from torch import Tensor

from ...compute.tensors import THREAD
from ...description.axis import integer, positive
from ...errors import DataError, SettingError, ShapeError
from ...network.pooling import PoolClusters as Described
from ...text import install
from . import grid_pool

MOST_SCORES = 2**24  # of descriptors against centres at a time
MOST_OUTPUTS = 2**22  # pooled at a time


class ClusterPool(grid_pool.CellPool):
    """Pooling within each cluster of descriptors and each cell of a grid, for any number of axes.

    Input (batch, channels, *size), the batch may be missing; output (batch, clusters * channels, *grid): channel c of
    cluster k is k * channels + c. Where no descriptor of a cell falls in a cluster the output is 0, what codes that
    do not fire are pooled to; the paper leaves it open. Ties go to the first centre; so does a descriptor that holds a
    NaN, so that a NaN stays in its own cell. Differentiable in the codes; a descriptor's cluster is a constant.

    clusters: integer >= 1. grid: cells per axis, placed as by torch's adaptive pooling. statistic: "mean" or "max".
    State: `centers` (clusters, channels); no channels until `fit`, or until a fitted state is loaded.
    Raises SettingError when called before, ShapeError for an input that does not fit.

    Source: Boureau, Le Roux, Bach, Ponce, LeCun 2011, Ask the locals: multi-way local pooling for image recognition,
    "Pooling more locally across the input space": each descriptor goes to the nearest of P centres that k-means found,
    h_(m,p) = op of the codes in cell m and cluster p, and all h_(m,p) are concatenated. One cluster: spatial pooling.
    """

    ndim: ClassVar[int]
    centers: Tensor

    def __init__(
        self, clusters: int, grid: Any = 1, statistic: str = "mean", device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(grid, statistic)
        self.clusters = positive("clusters", clusters)
        self.register_buffer("centers", torch.empty(self.clusters, 0, device=device, dtype=dtype))

    @property
    def fitted(self) -> bool:
        """Whether there are centres."""
        return self.centers.shape[1] > 0

    @property
    def operation(self) -> Described:
        """Its description, of features that are pooled themselves."""
        channels = self.centers.shape[1] if self.fitted else None
        return Described(self.clusters, self.grid, self.statistic, channels)

    def fit(self, batches: Tensor | Iterable[Tensor], seed: int = 0) -> ClusterPool:
        """Find the centres by scikit-learn's MiniBatchKMeans, and return the layer.

        batches: one tensor (batch, channels, *size), which is gone through until the centres stay, or an iterable of
        such, each of which is seen once, in turn. The same batches and seed give the same centres.
        Raises DataError for fewer descriptors than clusters, or NaN or Inf among them.
        """
        kmeans = _kmeans(self.clusters, seed)
        if not isinstance(batches, Iterable):
            raise ShapeError("features to cluster", got=type(batches).__name__, expected="a tensor, or batches of them")
        if isinstance(batches, Tensor):
            kmeans.fit(next(self._enough([batches])))
        else:
            for descriptors in self._enough(batches):
                kmeans.partial_fit(descriptors)
        self.centers = torch.from_numpy(kmeans.cluster_centers_).to(self.centers)
        return self

    def _enough(self, batches: Iterable[Tensor]) -> Iterator[Any]:
        """Descriptors (places, channels) as arrays; the first ones wait until there are as many as clusters."""
        waiting: list[Tensor] = []
        begun, channels = False, None
        for batch in batches:
            features, _ = grid_pool.batched(batch, self.ndim, channels, "features")
            channels = features.shape[1]
            rows = features.detach().movedim(1, -1).reshape(-1, channels).cpu()
            if not torch.isfinite(rows).all():
                raise DataError("features to cluster", got="NaN or Inf", expected="finite numbers")
            waiting.append(rows.to(grid_pool.wide(rows.dtype)))
            if begun or sum(map(len, waiting)) >= self.clusters:
                ready, waiting, begun = torch.cat(waiting), [], True
                if len(ready):
                    yield ready.numpy()
        if not begun:
            got = f"{sum(map(len, waiting))} descriptors"
            fix = "Give more images, or ask for fewer clusters."
            raise DataError(f"fitting {self.clusters} clusters", got=got, expected=f">= {self.clusters}", fix=fix)

    def assign(self, features: Tensor) -> Tensor:
        """The number of the nearest centre of every descriptor, (batch, *size) int64."""
        if not self.fitted:
            fix = "Call fit(features) first, or load the state of a fitted layer."
            raise SettingError(f"{type(self).__name__} of {self.clusters} clusters", got="no centres yet", fix=fix)
        whole, has_batch = grid_pool.batched(features, self.ndim, self.centers.shape[1], "features")
        found = self._nearest(whole.flatten(2)).unflatten(1, whole.shape[2:])
        return found if has_batch else found[0]

    def forward(self, features: Tensor, codes: Tensor | None = None) -> Tensor:
        """Pool codes, which are the features themselves if left out, by the clusters that the features fall in."""
        observer = THREAD.observer
        if codes is None:
            return super().forward(features)
        if observer is None or torch.compiler.is_compiling():
            return self._compute(features, codes)
        if features.ndim == codes.ndim == self.ndim + 1:
            return self.forward(features.unsqueeze(0), codes.unsqueeze(0)).squeeze(0)
        return observer.whole(replace(self.operation, codes=True), [features, codes], self._compute)

    def _compute(self, features: Tensor, codes: Tensor | None = None) -> Tensor:
        nearest = self.assign(features)
        codes = features if codes is None else codes
        whole, has_batch = grid_pool.batched(codes, self.ndim, None, "codes")
        nearest = nearest if has_batch else nearest[None]
        if nearest.shape != (whole.shape[0], *whole.shape[2:]):
            got = f"shape {tuple(codes.shape)} for features {tuple(features.shape)}"
            raise ShapeError("codes", got=got, expected="the batch and the size of the features")
        pooled = self._pooled(whole, nearest.flatten(1))
        return pooled if has_batch else pooled[0]

    def _nearest(self, features: Tensor) -> Tensor:
        """Nearest centres (batch, places) of (batch, channels, places), by the largest x'c - |c|^2 / 2.

        Distances do not change when everything moves, and with the centres' mean at 0 less is lost to rounding.
        """
        device = features.device.type
        exact = torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()
        with torch.no_grad(), exact:
            kind = torch.promote_types(grid_pool.wide(features.dtype), grid_pool.wide(self.centers.dtype))
            centers = self.centers.to(kind)
            mean = centers.mean(0)
            moved = centers - mean
            offset = moved @ mean + moved.square().sum(1) / 2
            parts = _parts(features.detach(), self.clusters * features.shape[2], MOST_SCORES)
            return torch.cat([(moved @ part.to(kind) - offset[:, None]).argmax(1) for part in parts])

    def _pooled(self, codes: Tensor, nearest: Tensor) -> Tensor:
        """Some images at a time, because the output is often much larger than the input, and so are copies of it."""
        outputs = self.clusters * prod(self.grid) * codes.shape[1]
        places, cell = _members(codes.shape[2:], self.grid, codes.device)
        rows = codes.flatten(2).transpose(1, 2)  # a row is the code of one place
        pairs = zip(_parts(rows, outputs, MOST_OUTPUTS), _parts(nearest, outputs, MOST_OUTPUTS), strict=True)
        if len(places) > rows.shape[1]:  # cells overlap
            pairs = ((part[:, places], chosen[:, places]) for part, chosen in pairs)
        parts = [self._scattered(part, chosen, cell) for part, chosen in pairs]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def _scattered(self, rows: Tensor, nearest: Tensor, cell: Tensor) -> Tensor:
        """Sum or maximum of the rows (images, places, channels) with the same image, cluster and cell."""
        (images, _, channels), cells_in_all = rows.shape, prod(self.grid)
        first = torch.arange(images, device=rows.device)[:, None] * self.clusters
        target = ((first + nearest) * cells_in_all + cell).flatten()
        flat = rows.reshape(-1, channels).to(grid_pool.wide(rows.dtype))
        pooled = flat.new_zeros(images * self.clusters * cells_in_all, channels)
        index = target[:, None].expand(-1, channels)
        if self.statistic == "max":
            pooled = pooled.scatter_reduce(0, index, flat, "amax", include_self=False)
        else:
            counts = flat.new_zeros(pooled.shape[0]).scatter_add(0, target, torch.ones_like(flat[:, 0]))
            pooled = pooled.scatter_add(0, index, flat / counts[target][:, None])
        by_cell = pooled.to(rows.dtype).view(images, self.clusters, cells_in_all, channels).transpose(2, 3)
        return by_cell.reshape(images, self.clusters * channels, *self.grid)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *arguments: Any) -> None:
        """Saved centres say how many channels there are."""
        saved = state_dict.get(f"{prefix}centers")
        if isinstance(saved, Tensor) and saved.dim() == 2 and len(saved) == self.clusters:
            if not saved.is_meta and not torch.isfinite(saved).all():  # all would fall in the first cluster
                error = DataError(f"{prefix}centers", got="NaN or Inf", expected="finite numbers")
                arguments[-1].append(str(error))  # torch raises what is in this list
                return
            self.centers = self.centers.new_empty(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *arguments)

    def extra_repr(self) -> str:
        state = f"channels={self.centers.shape[1]}" if self.fitted else "unfitted"
        return f"clusters={self.clusters}, {super().extra_repr()}, {state}"


def _parts(x: Tensor, each: int, most: int) -> Sequence[Tensor]:
    """As many images at a time as make `most` numbers, `each` of them; all at once where their number is left open."""
    return [x] if torch.compiler.is_compiling() else x.split(max(1, most // each))


def _members(size: Sequence[int], grid: Sequence[int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Every pair of a place and a cell that holds it, as flat numbers; places are 0, 1, .. where no cells overlap."""
    place = cell = torch.zeros(1, dtype=torch.int64, device=device)
    for length, count in zip(size, grid, strict=True):
        cells = enumerate(grid_pool.bounds(length, count))
        pairs = [(at, part) for part, (start, end) in cells for at in range(start, end)]
        at, part = torch.tensor(pairs, device=device).unbind(1)
        place, cell = (place[:, None] * length + at).flatten(), (cell[:, None] * count + part).flatten()
    return place, cell


def _kmeans(clusters: int, seed: int) -> Any:
    seed = integer("seed", seed)
    if not 0 <= seed < 2**32:
        raise SettingError("seed", got=seed, expected="an integer from 0 to 4294967295")
    try:
        from sklearn.cluster import MiniBatchKMeans
    except ImportError as error:
        raise DataError("clusters are found by scikit-learn", got="no scikit-learn", fix=install("train")) from error
    return MiniBatchKMeans(clusters, random_state=seed)


class ClusterPool1d(ClusterPool):
    """Pooling of (batch, channels, length) by cluster and cell to (batch, clusters * channels, cells).

    >>> pool = ClusterPool1d(2).fit(torch.tensor([[[0.0, 1.0, 8.0, 9.0]]]))
    >>> sorted(pool(torch.tensor([[[1.0, 1.0, 7.0, 9.0]]])).flatten().tolist())
    [1.0, 8.0]
    """

    ndim = 1


class ClusterPool2d(ClusterPool):
    """Pooling of (batch, channels, height, width) by cluster and cell to (batch, clusters * channels, *grid).

    >>> x = torch.randn(8, 5, 6, 6, generator=torch.Generator().manual_seed(0))
    >>> ClusterPool2d(4, grid=2, statistic="max").fit(x)(x).shape
    torch.Size([8, 20, 2, 2])
    """

    ndim = 2


class ClusterPool3d(ClusterPool):
    """Pooling of (batch, channels, depth, height, width) by cluster and cell to (batch, clusters * channels, *grid).

    >>> x = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    >>> ClusterPool3d(2, grid=(1, 2, 2)).fit(x)(x).shape
    torch.Size([2, 6, 1, 2, 2])
    """

    ndim = 3
