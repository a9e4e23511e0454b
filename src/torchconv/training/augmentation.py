"""Between stored images and the network: scaling, and changes while training, both on whole batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import SettingError
from ..text import did_you_mean


def resized(images: Tensor, share: float) -> Tensor:
    """Images (N, channels, height, width) with sides of this share, at least of one pixel; without aliases."""
    size = [max(1, round(side * share)) for side in images.shape[2:]]
    return functional.interpolate(images, size, mode="bilinear", antialias=True)


@dataclass(frozen=True)
class Scaling:
    """Bytes to numbers with mean 0 and variance 1 over the training images, channel by channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, images: Tensor | Sequence[Tensor]) -> Scaling:
        """From uint8 images (channels, *size); a channel without any contrast keeps its scale."""
        if isinstance(images, Tensor):
            counts = torch.stack([torch.bincount(one.reshape(-1), minlength=256) for one in images.unbind(1)]).double()
        else:
            every = [[torch.bincount(one.reshape(-1), minlength=256) for one in image] for image in images]
            counts = torch.stack([torch.stack(channels) for channels in every]).sum(0).double()
        values = torch.arange(256, dtype=torch.float64) / 255
        mean, square = ((counts * powers).sum(1) / counts.sum(1) for powers in (values, values**2))
        spread = (square - mean**2).clamp_min(0).sqrt()
        return cls(tuple(mean.tolist()), tuple(value if value > 1e-6 else 1.0 for value in spread.tolist()))

    def __call__(self, images: Tensor) -> Tensor:
        """uint8 (N, channels, *size) to float32 of the same shape."""
        shape = (1, -1) + (1,) * (images.dim() - 2)
        mean = torch.tensor(self.mean, device=images.device).view(shape)
        std = torch.tensor(self.std, device=images.device).view(shape)
        return (images.float() / 255 - mean) / std


@dataclass(frozen=True)
class Draw:
    """Where the chance of one batch comes from.

    whole: images in the whole batch, of which `rows` are here, where several processes share one. indices: int64 (N,),
    the images' numbers in the training set, or None; epoch: from 0; both decide about mirror images. generator: where
    all else is drawn, torch's own by default.
    """

    whole: int
    rows: slice | Tensor
    device: torch.device
    indices: Tensor | None = None
    epoch: int = 0
    generator: torch.Generator | None = None

    def uniform(self, *shape: int) -> Tensor:
        """Numbers from 0 to 1, (*shape, N) for the images that are here; drawn on the generator's device."""
        device = "cpu" if self.generator is None else self.generator.device
        drawn = torch.rand(*shape, self.whole, generator=self.generator, device=device)
        return drawn[..., self.rows].to(self.device)


Change: TypeAlias = Callable[[Tensor, Draw], Tensor]  # of images (N, channels, height, width) to the same shape


@dataclass(frozen=True)
class Affine:
    """Each image a little turned, scaled, sheared and shifted; what enters is the border's own value repeated.

    degrees: largest rotation. scale, shear: largest relative change. shift: largest move in pixels.
    """

    degrees: float = 12.0
    scale: float = 0.12
    shear: float = 0.15
    shift: float = 1.0

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        from kornia.geometry.transform import get_affine_matrix2d, warp_affine

        height, width = images.shape[-2:]
        angle, across, down, shear, right, below = draw.uniform(6) * 2 - 1
        center = images.new_tensor([(width - 1) / 2, (height - 1) / 2]).expand(len(images), 2)
        matrix = get_affine_matrix2d(
            torch.stack([right, below], 1) * self.shift,
            center,
            1 + torch.stack([across, down], 1) * self.scale,
            angle * self.degrees,
            torch.atan(shear * self.shear),
            torch.zeros_like(shear),
        )
        return warp_affine(images, matrix[:, :2].to(images.dtype), (height, width), padding_mode="border")


@dataclass(frozen=True)
class Flip:
    """Every second time an image is seen, its mirror image, left for right (Jordan 2024, "94% on CIFAR-10", 3.6).

    Which images start with it is a hash of their numbers and the seed. Where there are no numbers, by chance.
    """

    seed: int = 0

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        if draw.indices is None:
            chosen = draw.uniform() < 0.5
        else:
            chosen = (_hash(draw.indices.to(images.device), self.seed) + draw.epoch) % 2 == 1
        return torch.where(chosen.view(-1, 1, 1, 1), images.flip(-1), images)


@dataclass(frozen=True)
class Shift:
    """Each image moved by whole pixels, at most so many either way; what enters is the image's own reflection.

    Plain torch: kornia's RandomCrop takes 7 ms for (512, 3, 32, 32) on two cores, this 3 ms.
    """

    pixels: int = 2

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        height, width = images.shape[-2:]
        most = min(self.pixels, height - 1, width - 1)
        down, right = (draw.uniform(2) * (2 * most + 1)).long().clamp(max=2 * most)
        padded = functional.pad(images, (most,) * 4, mode="reflect")
        windows = padded.unfold(2, height, 1).unfold(3, width, 1)  # a view: (N, channels, moves, moves, height, width)
        return windows[torch.arange(len(images), device=images.device), :, down, right]


@dataclass(frozen=True)
class Cutout:
    """A square of each image, of a share of its side, set to 0, the mean (DeVries, Taylor 2017).

    Plain torch: kornia's RandomErasing takes 3.4 ms for (512, 3, 32, 32) on two cores, this half of it.
    """

    side: float = 0.25

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        down, right = draw.uniform(2)
        inside = [self._inside(size, centre) for size, centre in zip(images.shape[-2:], (down, right), strict=True)]
        return images.masked_fill(inside[0][:, None, :, None] & inside[1][:, None, None, :], 0)

    def _inside(self, size: int, centre: Tensor) -> Tensor:
        """Along one axis, for each image: which of its pixels lie in the square, (N, size)."""
        half = max(1, round(size * self.side / 2))
        away = torch.arange(size, device=centre.device) - (centre * size).long()[:, None]
        return (-half <= away) & (away < half)


@dataclass(frozen=True)
class ColourShift:
    """Each image a little brighter or darker, with more or less contrast, and each channel stronger or fainter.

    strength: largest change of the contrast, and of the brightness in standard deviations; half of it of a channel.
    Plain torch, as kornia's ColorJiggle wants colours from 0 to 1.
    """

    strength: float = 0.3

    def __call__(self, images: Tensor, draw: Draw) -> Tensor:
        channels = images.shape[1]
        drawn = ((draw.uniform(2 + channels) * 2 - 1) * self.strength).to(images.dtype)
        contrast, brightness = (part.view(-1, 1, 1, 1) for part in drawn[:2])
        gains = (drawn[2:] / 2).T.reshape(len(images), channels, 1, 1)
        middle = images.mean((1, 2, 3), keepdim=True)
        return ((images - middle) * (1 + contrast) + middle + brightness) * (1 + gains)


# By name, from a seed and what was written after ":", if anything was.
STEPS: dict[str, Callable[..., Change]] = {
    "affine": lambda seed: Affine(),
    "flip": lambda seed: Flip(seed),
    "shift": lambda seed, pixels=2: Shift(int(pixels)),
    "cutout": lambda seed, side=0.25: Cutout(float(side)),
    "colour": lambda seed, strength=0.3: ColourShift(float(strength)),
}


@dataclass(frozen=True)
class Augmentation:
    """Changes of training images, one after another."""

    steps: tuple[Change, ...]

    @classmethod
    def named(cls, kind: str, *, seed: int = 0) -> Augmentation:
        """By name: "affine", "flip", "shift:2" (pixels), "cutout:0.25" (of a side), "colour:0.3", or "none".

        Several are joined by "-". colour changes brightness, contrast and the strength of channels.
        Raises SettingError for what is none of these.

        >>> Augmentation.named("flip-shift:3-cutout").steps
        (Flip(seed=0), Shift(pixels=3), Cutout(side=0.25))
        """
        parts = [part.partition(":") for part in ([] if kind == "none" else kind.split("-"))]
        words = [word for word, _, _ in parts]
        for word in words:
            if word not in STEPS or words.count(word) > 1:
                expected = f"none, or some of {', '.join(STEPS)}, each once, joined by -"
                fix = did_you_mean(word, STEPS) if word not in STEPS else ""
                raise SettingError("augmentation", got=repr(kind), expected=expected, fix=fix)
        try:
            return cls(tuple(STEPS[word](seed, *([amount] if colon else [])) for word, colon, amount in parts))
        except (TypeError, ValueError):
            expected = "a whole number of pixels after shift:, a share after cutout: and colour:"
            raise SettingError("augmentation", got=repr(kind), expected=expected) from None

    def __call__(
        self,
        images: Tensor,
        *,
        indices: Tensor | None = None,
        epoch: int = 0,
        generator: torch.Generator | None = None,
        whole: int | None = None,
        rows: slice | Tensor = slice(None),
    ) -> Tensor:
        """Scaled images (N, channels, height, width) to the same shape; the rest is as of `Draw`."""
        return self.changed(images, Draw(whole or len(images), rows, images.device, indices, epoch, generator))

    def changed(self, images: Tensor, draw: Draw) -> Tensor:
        """The same, where what is drawn is said."""
        with torch.autocast(images.device.type, enabled=False):  # places in bfloat16 would be wrong by parts of a pixel
            for step in self.steps:
                images = step(images, draw)
        return images


def _hash(indices: Tensor, seed: int) -> Tensor:
    """Well mixed bits of numbers and a seed (the finalizer of splitmix64, Steele et al. 2014); int64 wraps around."""
    mixed = indices.long() + (seed * 2 + 1) * 0x1E3779B97F4A7C15 % 2**62
    for shift, factor in ((30, 0x3F58476D1CE4E5B9), (27, 0x14D049BB133111EB)):
        mixed = (mixed ^ ((mixed >> shift) & (2 ** (64 - shift) - 1))) * factor
    return (mixed ^ (mixed >> 31)) & 1
