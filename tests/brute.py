"""Random models out of everything that receptive fields are known of, and their fields by brute force."""

from __future__ import annotations

import random

import torch
from torch import Tensor, nn
from torch.nn import functional

import torchconv as tc


class Graph(nn.Module):
    """Layers that each read one or two of the tensors before."""

    def __init__(self, seed: int, size: tuple[int, int], layers: int = 6) -> None:
        super().__init__()
        self.chance = random.Random(seed)
        self.plan: list[tuple] = []
        self.layers = nn.ModuleList()
        torch.manual_seed(seed)
        shapes = [(2, *size)]
        while len(self.plan) < layers:
            made = self._made(shapes)
            if made is not None:
                self.plan.append(made[0])
                shapes.append(made[1])

    def _made(self, shapes: list[tuple[int, ...]]):
        source = self.chance.choice([len(shapes) - 1, len(shapes) - 1, self.chance.randrange(len(shapes))])
        channels, *size = shapes[source]
        kind = self.chance.choice(list(KINDS))
        try:
            if kind in ("add", "concat"):
                other = self.chance.choice([at for at, shape in enumerate(shapes) if at != source])
                if shapes[other][1:] != tuple(size) or (kind == "add" and shapes[other][0] != channels):
                    return None
                count = channels if kind == "add" else channels + shapes[other][0]
                return ((kind, source, other), (count, *size)) if count <= 8 else None
            call = KINDS[kind](self.chance, channels, size)
        except (IndexError, tc.TorchconvError):
            return None
        if isinstance(call, nn.Module):
            self.layers.append(call)
        try:
            with torch.no_grad():
                y = call(torch.zeros(1, channels, *size))
        except (RuntimeError, ValueError, tc.TorchconvError):
            return None
        if y.ndim != 4 or min(y.shape) < 1 or max(y.shape[2:]) > 24 or y.shape[1] > 8:
            return None
        return (call, source), tuple(y.shape[1:])

    def forward(self, x: Tensor) -> Tensor:
        found = [x]
        for first, source, *other in self.plan:
            if first == "add":
                found.append(found[source] + found[other[0]])
            elif first == "concat":
                found.append(torch.cat([found[source], found[other[0]]], 1))
            else:
                found.append(first(found[source]))
        return found[-1]


def _conv(chance, channels, size):
    k, d = chance.choice([1, 2, 3, 4]), chance.choice([1, 1, 2, 3])
    pads = chance.choice(["same", 0, 1, 2, (1, 0)])
    stride = 1 if pads == "same" else chance.choice([1, 1, 2, 3])
    mode = chance.choice(["zeros", "zeros", "reflect", "circular", "replicate"])
    return nn.Conv2d(channels, 2, k, stride, pads, d, padding_mode=mode)


def _transposed(chance, channels, size):
    s = chance.choice([1, 2, 3])
    extra = chance.choice([0, 0, s - 1])
    return nn.ConvTranspose2d(
        channels, 2, chance.choice([1, 2, 3, 4]), s, chance.choice([0, 1]), extra, dilation=chance.choice([1, 2])
    )


def _pool(chance, channels, size):
    k = chance.choice([2, 3])
    pad = chance.choice([0, k // 2])
    kind = chance.choice([nn.MaxPool2d, nn.AvgPool2d])
    return kind(k, chance.choice([1, 2, 3]), pad, ceil_mode=chance.choice([False, True]))


def _own(chance, channels, size):
    sharing = chance.choice(["full", "none", 2])
    return tc.nn.Conv2d(
        channels, 2, chance.choice([1, 3]), chance.choice([1, 2]), chance.choice(["same", 1, ((1, 0), (0, 2))]),
        sharing=sharing, input_size=tuple(size),
    )  # fmt: skip


def _resize(chance, channels, size):
    mode = chance.choice(["nearest", "nearest-exact", "bilinear", "bicubic", "area"])
    new = tuple(chance.choice([2 * n, 3 * n, n + 3, max(n // 2, 1), n]) for n in size)
    corners = chance.choice([False, True]) if mode in ("bilinear", "bicubic") else None
    return lambda x: functional.interpolate(x, new, mode=mode, align_corners=corners)


def _unfolded(chance, channels, size):
    k = chance.choice([2, 3])
    high, wide = size[0] - k + 1, size[1] - k + 1
    return lambda x: functional.unfold(x, k).sum(1).view(1, 1, high, wide)


def _folded(chance, channels, size):
    return lambda x: functional.fold(functional.unfold(x, 2, stride=2), (x.shape[2], x.shape[3]), 2, stride=2)


def _written(chance, channels, size):
    def call(x: Tensor) -> Tensor:
        y = x.clone()
        y[:, :, 1:3] = x[:, :, :2].flip(2)
        y[..., 0] = 0
        return y.mul_(2)

    return call


def _broadcast(chance, channels, size):
    """A row, a column or one channel of the input, made as long again by a constant of the model."""
    dim = chance.choice([1, 2, 3])
    shape = [1] * dim + [(channels, *size)[dim - 1]] + [1] * (3 - dim)
    way = chance.choice([torch.mul, torch.add, lambda a, b: torch.where(b > 0, a, b), lambda a, b: torch.lerp(b, a, 2)])
    return lambda x: way(x.narrow(dim, x.shape[dim] // 2, 1), torch.ones(shape, dtype=x.dtype))


KINDS = {
    "broadcast": _broadcast,
    "conv": _conv,
    "conv again": _conv,
    "own": _own,
    "transposed": _transposed,
    "pool": _pool,
    "resize": _resize,
    "pad": lambda chance, c, s: lambda x: functional.pad(x, (2, 0, -1, 3)),
    "slice": lambda chance, c, s: lambda x: x[:, :, 1:, ::2],
    "shuffle": lambda chance, c, s: nn.PixelShuffle(2),
    "unshuffle": lambda chance, c, s: nn.PixelUnshuffle(2),
    "roll": lambda chance, c, s: lambda x: x.roll((1, -2), (2, 3)),
    "flip": lambda chance, c, s: lambda x: x.flip(3),
    "turn": lambda chance, c, s: lambda x: x.transpose(2, 3),
    "unfold": _unfolded,
    "fold": _folded,
    "write": _written,
    "lp": lambda chance, c, s: nn.LPPool2d(2, 2, stride=1),
    "adaptive": lambda chance, c, s: nn.AdaptiveAvgPool2d(chance.choice([1, 2, 3, 5])),
    "squeeze": lambda chance, c, s: lambda x: x + x.mean((2, 3), keepdim=True),
    "windows": lambda chance, c, s: lambda x: x.unfold(2, 2, 1).unfold(3, 3, 2).amax((-2, -1)),
    "add": None,
    "concat": None,
}


def boxes(model: nn.Module, size: tuple[int, int]) -> dict[tuple[int, int], tuple]:
    """For every place of the output which samples change it, (first, last) on each axis, by changing every one."""
    model = model.double().eval()
    for parameter in model.parameters():  # positive ones, so that no maximum hides a change
        parameter.data.abs_()
    torch.manual_seed(1)
    x = torch.rand(1, 2, *size, dtype=torch.double) + 1
    with torch.no_grad():
        y = model(x)
        moved = torch.zeros(*size, *y.shape[2:], dtype=torch.bool)
        for row in range(size[0]):
            for column in range(size[1]):
                for amount in (1000.0, -1000.0):
                    other = x.clone()
                    other[:, :, row, column] += amount
                    moved[row, column] |= ((model(other) - y).abs() > 1e-7).any(1)[0]
    found = {}
    for place in torch.cartesian_prod(*(torch.arange(n) for n in y.shape[2:])).reshape(-1, 2).tolist():
        reads = moved[:, :, place[0], place[1]].nonzero()
        found[tuple(place)] = (
            tuple((int(reads[:, axis].min()), int(reads[:, axis].max())) for axis in (0, 1)) if len(reads) else ()
        )
    return found
