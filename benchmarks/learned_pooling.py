"""Clustered, learned and advised pooling on a CIFAR-10 subset, and the time of dynamic pooling.

python -m benchmarks.learned_pooling CIFAR10/train.parquet   (validation.parquet lies beside it)
"""

from __future__ import annotations

import sys
from itertools import product
from time import perf_counter

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from scipy.stats import spearmanr
from sklearn.cluster import MiniBatchKMeans
from sklearn.linear_model import RidgeClassifierCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

import torchconv as tc
from torchconv.network.operations import Volume
from torchconv.training.data.parts import Split
from torchconv.training.data.tabular import ParquetImages

from . import measure

TRAIN, TEST, SEEDS = 2000, 2000, range(5)
PATCH, STRIDE = 6, 2
NOISE = 0.1  # of the variance, where patches are whitened
BOXES = [((0, 4), (0, 4)), *product(((0, 2), (2, 4)), repeat=2)]  # a pyramid of 1x1 and 2x2


class Images:
    """A random part of the training images, and of the validation images after them, as whitened patches.

    After Coates, Ng, Lee 2011, An analysis of single-layer networks in unsupervised feature learning, section 3.
    """

    def __init__(self, path: str, seed: int) -> None:
        pixels, labels = [], []
        source = ParquetImages(path)
        for split, count in (("train", TRAIN), ("validation", TEST)):
            part = source.parts(0)[split]
            chosen = np.random.default_rng(seed).permutation(len(part.items))[:count]
            some = Split(tuple(part.items[i] for i in chosen), tuple(part.labels[i] for i in chosen))
            batch = source.read(some, Volume(3, (32, 32)))
            pixels.append(batch.images)
            labels.append(batch.labels)
        self.labels, self.seed = torch.cat(labels), seed
        patches = functional.unfold(torch.cat(pixels).float() / 255, PATCH, stride=STRIDE)
        patches -= patches.mean(1, keepdim=True)
        patches /= (patches.square().mean(1, keepdim=True) + 1e-3).sqrt()
        rows = patches[:TRAIN].transpose(1, 2).reshape(-1, patches.shape[1])[::11]
        values, vectors = torch.linalg.eigh(torch.cov(rows.T))
        whitening = vectors @ torch.diag((values + NOISE).rsqrt()) @ vectors.T
        side = (32 - PATCH) // STRIDE + 1
        self.patches = (whitening @ (patches - rows.mean(0)[:, None])).unflatten(2, (side, side))

    def words(self, count: int) -> Tensor:
        rows = self.patches[:TRAIN].movedim(1, -1).reshape(-1, self.patches.shape[1])[self.seed :: 11]
        return torch.from_numpy(MiniBatchKMeans(count, random_state=self.seed).fit(rows.numpy()).cluster_centers_)

    def codes(self, words: Tensor, kind: str = "triangle") -> Tensor:
        """Triangle: how much nearer than the mean word, Coates et al.'s equation 4; hard: their equation 3; sparse:
        the projection beyond 2."""
        coded = []
        for part in self.patches.split(500):
            rows = part.flatten(2).transpose(1, 2)
            distance = torch.cdist(rows, words.expand(len(rows), -1, -1))
            if kind == "triangle":
                code = (distance.mean(2, keepdim=True) - distance).clamp(min=0)
            elif kind == "hard":
                code = functional.one_hot(distance.argmin(2), len(words)).float()
            else:
                code = (rows @ functional.normalize(words, dim=1).T - 2).clamp(min=0)
            coded.append(code.transpose(1, 2))
        return torch.cat(coded).unflatten(2, self.patches.shape[2:])

    def accuracy(self, pooled: Tensor) -> float:
        """Of a linear classifier of scikit-learn's on pooled features, its ridge chosen by leaving one out."""
        rows, labels = pooled.flatten(1).numpy(), self.labels.numpy()
        model = make_pipeline(StandardScaler(), RidgeClassifierCV(np.logspace(1, 5, 9)))
        return model.fit(rows[:TRAIN], labels[:TRAIN]).score(rows[TRAIN:], labels[TRAIN:])


def dynamic_seconds() -> str:
    features = torch.randn(1000, 1600, 6, 6, generator=torch.Generator().manual_seed(0))
    pool = tc.nn.ClusterPool2d(64)
    begun = perf_counter()
    pool.fit(features)
    fitted = perf_counter() - begun
    times = []
    for _ in range(3):
        begun = perf_counter()
        pool(features)
        times.append(perf_counter() - begun)
    return f"fit {fitted:.1f} s, pooling {sorted(times)[1]:.2f} s (middle of 3); asked for: under 10 s"


# codes, clusters, cells per axis, statistic: the same codes in more and more clusters, as in the paper's tables, and
# then all ways to have 2,048 values
CLUSTERED = [
    *product((32,), (1, 16, 64), (1,), ("max",)),
    *product((32,), (1, 4, 16, 64), (2,), ("max",)),
    *product((32,), (1, 16), (2,), ("mean",)),
    *product((128,), (1, 4, 16), (2,), ("max",)),
    *product((128,), (1, 4), (2,), ("mean",)),
    *((32, 1, 8, statistic) for statistic in ("max", "mean")),
    *((512, 1, 2, statistic) for statistic in ("max", "mean")),
]


def clustered(images: Images) -> dict[str, tuple[int, float]]:
    """Values per image, and accuracy, for each way."""
    found = {}
    coded = {count: images.codes(images.words(count)) for count in {count for count, *_ in CLUSTERED}}
    for count, clusters, grid, statistic in CLUSTERED:
        pool = tc.nn.ClusterPool2d(clusters, grid, statistic)
        pooled = pool.fit(images.patches[:TRAIN].split(200), seed=images.seed)(images.patches, coded[count])
        name = f"{count} codes, {grid}x{grid} cells, {statistic}" + (f", {clusters} clusters" if clusters > 1 else "")
        found[name] = (pooled[0].numel(), images.accuracy(pooled))
    return found


def selected(images: Images) -> dict[str, tuple[int, float]]:
    """The pyramid, and as many of the hundred regions of a 4x4 grid for each of 64 codes, chosen in three ways."""
    codes = images.codes(images.words(64))
    learned = tc.nn.RegionClassifier(64, 10, 4, "max", ridge=0.01)
    regions, pool = learned.pool.regions, learned.pool
    pyramid = [(code, regions.index(box)) for code in range(64) for box in BOXES]
    count = len(pyramid)
    drawn = np.random.default_rng(images.seed).permutation(64 * len(regions))[:count]
    ways = {
        "pyramid, 1x1 and 2x2": pyramid,
        "regions drawn at random": [divmod(int(feature), len(regions)) for feature in drawn],
    }
    train, labels = codes[:TRAIN], images.labels[:TRAIN]
    ways["regions grafted"] = learned.graft(train, labels, count).selected
    high = learned.largest_strength(train, labels)
    low = high / 30
    for _ in range(6):  # bisection for a strength that leaves about as many
        strength = (low * high) ** 0.5
        ways["regions by the L(1,inf) penalty"] = learned.fit(
            train, labels, strength, steps=600, tolerance=1e-6
        ).selected
        low, high = (strength, high) if len(learned.selected) > count else (low, strength)
    found = {name: (len(pairs), images.accuracy(pool.select(pairs)(codes))) for name, pairs in ways.items()}
    everything = pool(codes)
    return {**found, "all regions": (everything[0].numel(), images.accuracy(everything))}


def advised(images: Images, console: Console) -> None:
    table = Table("codes", "places pooled", "max", "mean", "gain of max", "advice, class", "advice, image")
    gained, predicted = [], {"class": [], "image": []}
    smaller: list[int] = []  # without any advice: max for small pools
    for count, kind in product((16, 64, 128), ("hard", "triangle", "sparse")):
        codes = images.codes(images.words(count), kind)
        side = codes.shape[2]
        pools = [side // grid for grid in (7, 2, 1)]
        advices = [
            tc.pooling_advice(codes[:TRAIN], images.labels[:TRAIN], [size**2 for size in pools], draws=draws)
            for draws in predicted
        ]
        for size in pools:
            scores = [images.accuracy(pool(codes, size)) for pool in (functional.max_pool2d, functional.avg_pool2d)]
            gained.append(scores[0] - scores[1])
            smaller.append(-size)
            for advice, values in zip(advices, predicted.values(), strict=True):
                values.append(advice.preference(size**2))
            shown = [f"{score:.1%}" for score in scores] + [f"{100 * gained[-1]:+.1f}"]
            table.add_row(f"{count} {kind}", str(size**2), *shown, *(f"{v[-1]:+.3f}" for v in predicted.values()))
    console.print(table)
    for draws, values in predicted.items():
        found = spearmanr(values, gained)
        right = np.mean(np.sign(values) == np.sign(gained))
        console.print(
            f"draws from the {draws}: Spearman's rank correlation of advice and gain {found.statistic:.2f} "
            f"(p = {found.pvalue:.2g}, {len(gained)} cases), the better one named in {right:.0%}"
        )
    found = spearmanr(smaller, gained)
    console.print(
        f"of the pool's size alone, the smaller the more for max: {found.statistic:.2f} (p = {found.pvalue:.2g})"
    )
    within = {
        draws: [spearmanr(values[at::3], gained[at::3]).statistic for at in range(3)]
        for draws, values in predicted.items()
    }
    shown = "; ".join(f"{draws} " + ", ".join(f"{one:.2f}" for one in each) for draws, each in within.items())
    console.print(f"of the advice within pools of one size, 4, 49 and 196 places: {shown}")


def by_seeds(title: str, results: list[dict[str, tuple[int, float]]], console: Console) -> None:
    table = Table("pooling", "values", *(f"seed {seed}" for seed in SEEDS), "mean", title=title)
    for name in results[0]:
        counts, scores = zip(*(result[name] for result in results), strict=True)
        count = str(counts[0]) if len(set(counts)) == 1 else f"{min(counts)} to {max(counts)}"
        table.add_row(name, count, *(f"{score:.1%}" for score in scores), f"{np.mean(scores):.1%}")
    console.print(table)


def main() -> None:
    """Print the four parts; the accuracies are of one thread, the time of all that there are."""
    console, begun = Console(width=140), perf_counter()
    console.print(measure.machine())
    console.print(f"Dynamic pooling of 1,000 images of 6x6x1,600 by 64 clusters: {dynamic_seconds()}")
    torch.set_num_threads(1)
    console.print(f"CIFAR-10: {TRAIN} training and {TEST} validation images by seed, whitened {PATCH}x{PATCH} patches,")
    console.print(f"stride {STRIDE}, triangle codes of k-means words, scikit-learn's ridge classifier. Accuracies.")
    with threadpool_limits(1):
        results = [(clustered(images), selected(images)) for images in (Images(sys.argv[1], seed) for seed in SEEDS)]
        by_seeds("Clustered and spatial pooling", [by_cluster for by_cluster, _ in results], console)
        by_seeds("Learned regions (max)", [by_region for _, by_region in results], console)
        advised(Images(sys.argv[1], 0), console)
    console.print(f"{perf_counter() - begun:.0f} s in all")


if __name__ == "__main__":
    main()
