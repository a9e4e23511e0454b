"""A conditional random field by mean field: scores refined by an image, window by window. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import ClassVar

from ..description.axis import Axis
from ..description.connections import Connections
from ..errors import ShapeError
from ..receptive.access import AccessPattern, Each, SlidingWindows
from .base import Locality, ModuleSpec, Operation, Volume, check_axes


@dataclass(frozen=True)
class MeanField(Operation):
    """Scores of classes, and the image they belong to if it is looked at, to log-probabilities of the same size.

    learned: values. Each pair of places within the window is a product, both ways, for each class and iteration.

    >>> MeanField(4, (3, 3), (1, 1), 2, learned=6).macs(Volume(4, (1, 2)), Volume(3, (1, 2)))
    19
    """

    classes: int
    window: tuple[int, ...]
    dilation: tuple[int, ...]
    iterations: int
    smoothness: bool = True
    appearance: bool = True
    normalized: bool = True
    matrix: bool = False
    learned: int = 0
    word: ClassVar[str] = "crf"
    locality: ClassVar[Locality] = Locality.WINDOWED
    gives_scores = True

    @property
    def reads(self) -> int:  # type: ignore[override]
        return 1 + self.appearance

    @property
    def rank(self) -> int:  # type: ignore[override]
        return len(self.window)

    def output(self, scores: Volume, image: Volume | None = None) -> Volume:
        check_axes(f"CRF, {self}", scores, len(self.window))
        if scores.channels != self.classes:
            raise ShapeError(f"CRF, {self}", got=f"a volume {scores}", expected=f"{self.classes} channels")
        if image is not None and image.size != scores.size:
            raise ShapeError(f"CRF, {self}", got=f"an image {image}", expected=f"the size of the scores, {scores}")
        return scores

    def parameters(self, *volumes: Volume) -> int:
        return self.learned

    def macs(self, *volumes: Volume) -> int:
        axes = list(zip(volumes[0].size, self.window, self.dilation, strict=True))
        both = prod(
            sum(max(size - abs(tap - window // 2) * step, 0) for tap in range(window)) for size, window, step in axes
        )
        return self._macs((both - prod(volumes[0].size)) // 2, volumes)

    def macs_ignoring_borders(self, *volumes: Volume) -> int:
        return self._macs(prod(volumes[0].size) * (prod(self.window) - 1) // 2, volumes)

    def _macs(self, pairs: int, volumes: tuple[Volume, ...]) -> int:
        costs = prod(volumes[0].size) * self.classes**2 if self.matrix else 0
        colors = pairs * volumes[1].channels if self.appearance else 0
        return self.iterations * (2 * pairs * self.classes + costs) + colors

    def access(self, *volumes: Volume) -> AccessPattern:
        """What was said goes one window further in each iteration; so do sums of windows, once, in the image."""
        ways = [self._way(self.iterations, self.classes)]
        if self.appearance:
            reach = self.iterations + self.normalized if self.iterations else 0
            ways.append(self._way(reach, volumes[1].channels))
        return Each(tuple(ways))

    def _way(self, windows: int, channels: int) -> AccessPattern:
        radii = [windows * (window // 2) for window in self.window]
        axes = tuple(
            Axis(2 * radius + 1, dilation=step, padding=(radius * step, radius * step)) if radius else Axis(1)
            for radius, step in zip(radii, self.dilation, strict=True)
        )
        return SlidingWindows(axes, Connections.of(channels, self.classes))

    def torch_module(self, *volumes: Volume) -> ModuleSpec:
        left_out = {name: None for name in ("smoothness", "appearance") if not getattr(self, name)}
        kinds = {
            "compatibility": "matrix" if self.matrix else "potts",
            "normalization": "symmetric" if self.normalized else "none",
        }
        settings = {"dilation": self.dilation, **kinds, **left_out}
        return ModuleSpec.of("torchconv.segmentation.crf.CRF", self.classes, self.window, self.iterations, **settings)
