"""The shapes that convolutions are measured on: layers of well-known networks, filters, signals, unshared and tiled."""

from __future__ import annotations

from dataclasses import dataclass

import torchconv as tc


@dataclass(frozen=True)
class Shape:
    """One convolution on one input. size and kernel: per axis. Half the kernel is padding on each side."""

    family: str
    batch: int
    ins: int
    outs: int
    size: tuple[int, ...]
    kernel: tuple[int, ...]
    groups: int = 1
    stride: int = 1
    dilation: int = 1
    sharing: int | str = "full"

    @property
    def convolution(self) -> tc.Convolution:
        """The description."""
        padding = tuple((taps - 1) * self.dilation // 2 for taps in self.kernel)
        return tc.Convolution(
            self.ins,
            self.outs,
            self.kernel,
            self.stride,
            padding,
            self.dilation,
            self.groups,
            False,
            sharing=self.sharing,
        )

    @property
    def taps(self) -> int:
        """The longest side of the kernel."""
        return max(self.kernel)

    def __str__(self) -> str:
        size, kernel = ("x".join(map(str, one)) for one in (self.size, self.kernel))
        words = [f"{self.batch},{self.ins},{self.outs},{size},{kernel}"]
        words += [f"g{self.groups}"] if self.groups > 1 else []
        words += [f"s{self.stride}"] if self.stride > 1 else []
        words += [f"d{self.dilation}"] if self.dilation > 1 else []
        return " ".join([*words, *([f"sharing {self.sharing}"] if self.sharing != "full" else [])])


def _square(family: str, batch: int, rows: list[tuple[int, ...]]) -> list[Shape]:
    """Rows of in, out, size, kernel, and where they are not 1, groups and stride."""
    found = []
    for ins, outs, size, kernel, *rest in rows:
        groups, stride = (*rest, 1, 1)[:2] if len(rest) < 2 else rest
        found.append(Shape(family, batch, ins, outs, (size, size), (kernel, kernel), groups, stride))
    return found


RESNET50 = _square("ResNet-50", 8, [
    (3, 64, 224, 7, 1, 2), (64, 64, 56, 1), (64, 64, 56, 3), (64, 256, 56, 1), (256, 64, 56, 1), (256, 128, 56, 1),
    (128, 128, 56, 3, 1, 2), (128, 512, 28, 1), (256, 512, 56, 1, 1, 2), (512, 128, 28, 1), (128, 128, 28, 3),
    (512, 256, 28, 1), (256, 256, 28, 3, 1, 2), (256, 1024, 14, 1), (512, 1024, 28, 1, 1, 2), (1024, 256, 14, 1),
    (256, 256, 14, 3), (1024, 512, 14, 1), (512, 512, 14, 3, 1, 2), (512, 2048, 7, 1), (1024, 2048, 14, 1, 1, 2),
    (2048, 512, 7, 1), (512, 512, 7, 3),
])  # fmt: skip
VGG16 = _square("VGG-16", 4, [
    (3, 64, 224, 3), (64, 64, 224, 3), (64, 128, 112, 3), (128, 128, 112, 3), (128, 256, 56, 3), (256, 256, 56, 3),
    (256, 512, 28, 3), (512, 512, 28, 3), (512, 512, 14, 3),
])  # fmt: skip
MOBILENETV2 = _square("MobileNetV2", 8, [
    (3, 32, 224, 3, 1, 2), (32, 32, 112, 3, 32), (32, 16, 112, 1), (16, 96, 112, 1), (96, 96, 112, 3, 96, 2),
    (96, 24, 56, 1), (144, 144, 56, 3, 144), (144, 144, 56, 3, 144, 2), (192, 192, 28, 3, 192),
    (192, 192, 28, 3, 192, 2),
    (384, 384, 14, 3, 384), (576, 576, 14, 3, 576), (576, 576, 14, 3, 576, 2), (960, 960, 7, 3, 960), (960, 320, 7, 1),
    (320, 1280, 7, 1),
])  # fmt: skip
CONVNEXT = _square("ConvNeXt-T", 8, [
    (3, 96, 224, 4, 1, 4), (96, 96, 56, 7, 96), (96, 192, 56, 2, 1, 2), (192, 192, 28, 7, 192), (384, 384, 14, 7, 384),
    (768, 768, 7, 7, 768), (96, 384, 56, 1),
])  # fmt: skip
REPLKNET = _square("RepLKNet-31B", 4, [
    (128, 128, 56, 31, 128), (256, 256, 28, 29, 256), (512, 512, 14, 27, 512), (1024, 1024, 7, 13, 1024),
    (128, 128, 56, 5, 128),
])  # fmt: skip
UNET = _square("U-Net", 1, [
    (1, 64, 572, 3), (64, 64, 568, 3), (128, 128, 280, 3), (256, 256, 136, 3), (512, 512, 64, 3), (1024, 1024, 28, 3),
    (1024, 512, 52, 3),
])  # fmt: skip
LARGE = _square("large kernels", 8, [
    (64, 64, 56, 7), (64, 64, 56, 11), (64, 64, 56, 15), (64, 64, 56, 31), (64, 64, 56, 7, 64), (64, 64, 56, 31, 64),
    (4, 4, 512, 31, 4),
])  # fmt: skip
FILTERS = _square("filters", 1, [(1, 1, 1024, 31), (1, 1, 1024, 101), (1, 1, 512, 9), (3, 3, 1024, 15, 3)])
SIGNALS = [
    Shape("signals", 8, 1, 1, (96000,), (1024,)),
    Shape("signals", 8, 1, 1, (96000,), (4800,)),
    Shape("signals", 4, 64, 64, (16000,), (1024,)),
    Shape("signals", 4, 64, 64, (16000,), (1024,), 64),
    Shape("signals", 1, 1, 1, (1000000,), (10000,)),
    Shape("signals", 8, 64, 64, (16000,), (3,), dilation=8),
    Shape("signals", 8, 64, 64, (16000,), (31,)),
]
UNSHARED = [
    Shape("unshared", 8, 64, 64, (28, 28), (3, 3), sharing="none"),
    Shape("unshared", 32, 64, 64, (14, 14), (3, 3), sharing="none"),
    Shape("unshared", 16, 3, 32, (32, 32), (5, 5), sharing="none"),
    Shape("tiled", 8, 64, 64, (28, 28), (3, 3), sharing=2),
    Shape("tiled", 8, 64, 64, (56, 56), (3, 3), sharing=2),
]
GRID = RESNET50 + VGG16 + MOBILENETV2 + CONVNEXT + REPLKNET + UNET + LARGE + FILTERS + SIGNALS + UNSHARED
