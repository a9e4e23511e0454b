"""MobileNetV2 and ConvNeXt-T as their papers have them, to be counted."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def _convolved(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1, last: bool = False):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    layers = [conv, nn.BatchNorm2d(outputs)] + ([] if last else [nn.ReLU6(inplace=True)])
    return nn.Sequential(*layers)


class Inverted(nn.Module):
    """Sandler et al. 2018, MobileNetV2, figure 3."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        first = [_convolved(inputs, wide)] if expansion > 1 else []
        depthwise = _convolved(wide, wide, 3, stride, wide)
        self.body = nn.Sequential(*first, depthwise, _convolved(wide, outputs, last=True))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.adds else self.body(x)


def mobilenet_v2() -> nn.Module:
    """Table 2."""
    layers: list[nn.Module] = [_convolved(3, 32, 3, 2)]
    inputs = 32
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, outputs, count, stride in table:
        for number in range(count):
            layers.append(Inverted(inputs, outputs, 1 if number else stride, expansion))
            inputs = outputs
    last = [_convolved(inputs, 1280), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2), nn.Linear(1280, 1000)]
    return nn.Sequential(*layers, *last)


class ChannelNorm(nn.LayerNorm):
    """Over the channels of (batch, channels, height, width)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Block(nn.Module):
    """Liu et al. 2022, A ConvNet for the 2020s, figure 4."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels)
        self.wide, self.narrow = nn.Linear(channels, 4 * channels), nn.Linear(4 * channels, channels)
        self.scale = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.depthwise(x).permute(0, 2, 3, 1))
        return x + (self.scale * self.narrow(nn.functional.gelu(self.wide(y)))).permute(0, 3, 1, 2)


def convnext_t() -> nn.Module:
    """Table 9: 3, 3, 9, 3 blocks of 96, 192, 384, 768 channels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 96, 4, 4), ChannelNorm(96)]
    inputs = 96
    for number, (channels, count) in enumerate(((96, 3), (192, 3), (384, 9), (768, 3))):
        if number:
            layers += [ChannelNorm(inputs), nn.Conv2d(inputs, channels, 2, 2)]
        layers += [Block(channels) for _ in range(count)]
        inputs = channels
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(768), nn.Linear(768, 1000))
