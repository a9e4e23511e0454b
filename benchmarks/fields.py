"""Receptive fields beside TorchLens, where that is installed: what each says, and how long it takes to say it.

pip install torchlens && python -m benchmarks.fields
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional

import torchconv as tc

from . import measure

try:
    import torchlens
except ImportError:
    torchlens = None


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, call: Any) -> None:
        super().__init__()
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


def fourier(x: Tensor) -> Tensor:
    """A 5x5 convolution by Fourier transforms."""
    size = (x.shape[-2] + 4, x.shape[-1] + 4)
    product = torch.fft.rfft2(x, s=size)[:, None] * torch.fft.rfft2(torch.ones(4, 3, 5, 5), s=size)[None]
    return torch.fft.irfft2(product.sum(2), s=size)[..., 2:-2, 2:-2]


def unfolded(x: Tensor) -> Tensor:
    """A 3x3 convolution by patches."""
    return (torch.ones(4, 27) @ functional.unfold(x, 3, padding=1)).view(1, 4, *x.shape[2:])


def block() -> list[nn.Module]:
    """Two layers and a pool."""
    return [nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3), nn.MaxPool2d(2)]


CASES: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "padding='same', 5x5": (nn.Conv2d(3, 4, 5, padding="same"), (3, 64, 64)),
    "F.max_pool2d, 2x2": (Function(lambda x: functional.max_pool2d(x, 2)), (3, 64, 64)),
    "nn.Identity, 3x3": (nn.Sequential(nn.Identity(), nn.Conv2d(3, 4, 3)), (3, 64, 64)),
    "nn.LPPool2d, 2x2": (nn.LPPool2d(2, 2), (3, 64, 64)),
    "F.unfold, 3x3": (Function(unfolded), (3, 64, 64)),
    "FFT convolution, 5x5": (Function(fourier), (3, 64, 64)),
    "transposed, 4x4, stride 2": (nn.ConvTranspose2d(3, 4, 4, 2, 1), (3, 64, 64)),
    "bilinear, twice": (nn.Upsample(scale_factor=2, mode="bilinear"), (3, 64, 64)),
    "four 3x3 layers, two pools": (nn.Sequential(*(layer for _ in range(2) for layer in block())), (3, 64, 64)),
}


def ours(model: nn.Module, shape: tuple[int, ...]) -> tuple[str, float]:
    """What torchconv says, and the seconds that it takes."""
    begun = perf_counter()
    found = str(tc.receptive_field(model, shape))
    return found, perf_counter() - begun


def theirs(model: nn.Module, shape: tuple[int, ...]) -> tuple[str, float]:
    """What TorchLens says of the last layer before the output."""
    assert torchlens is not None
    begun = perf_counter()
    try:
        with torch.no_grad():
            layers = list(torchlens.trace(model.eval(), torch.rand(1, *shape)).layers)
        view = layers[-2].receptive_field
        said = f"{view.status.name.lower()}, size {'x'.join(map(str, view.size or '-'))}"
    except Exception as error:
        said = f"{type(error).__name__}: {str(error).partition(';')[0][:60]}"
    return said, perf_counter() - begun


def main() -> None:
    """Print the table; each is asked once before it is timed."""
    console = Console(width=180)
    console.print(measure.machine(), "" if torchlens is None else f"torchlens {torchlens.__version__}")
    table = Table("model", "torchconv", "seconds", "TorchLens", "seconds")
    for name, (model, shape) in CASES.items():
        row = [name]
        for ask in (ours, theirs):
            if ask is theirs and torchlens is None:
                row += ["not installed", ""]
                continue
            ask(model, shape)
            said, seconds = ask(model, shape)
            row += [said, f"{seconds:.3f}"]
        table.add_row(*row)
    console.print(table)


if __name__ == "__main__":
    main()
