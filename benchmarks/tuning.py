"""`python -m benchmarks.tuning`: what tc.tune makes of whole models, written with torch.nn's layers alone.

Blocks of MobileNetV2 (Sandler et al. 2018), ShuffleNetV2 (Ma et al. 2018), ConvNeXt (Liu et al. 2022), ResNet (He et
al. 2016) and RepLKNet with kernels of 31x31 (Ding et al. 2022), with fewer channels and blocks, random weights, and two
images of 128x128. A tuned copy is timed beside a copy that was not, in turns in one process, in inference and in
training steps; ratios are medians, with the quartiles in brackets, and behind them the ratio of the processor's
seconds. Outputs and gradients are compared too.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable
from statistics import median, quantiles

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor, nn

import torchconv as tc
from benchmarks.measure import machine

ROUNDS = 15
IMAGES = 2, 3, 128, 128


def conv(channels: int, outputs: int, size: int, stride: int = 1, groups: int = 1, act: bool = True) -> nn.Sequential:
    """A convolution without bias, batch normalisation, and a ReLU."""
    layer = nn.Conv2d(channels, outputs, size, stride, size // 2, groups=groups, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU() if act else nn.Identity())


class Residual(nn.Module):
    """A block beside a way around it, which may be a layer itself."""

    def __init__(self, block: nn.Module, around: nn.Module | None = None, act: bool = False) -> None:
        super().__init__()
        self.block, self.around = block, around or nn.Identity()
        self.act = nn.ReLU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.block(x) + self.around(x))


class Shuffled(nn.Module):
    """Half of the channels through a block, then both halves mixed."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.block = nn.Sequential(conv(half, half, 1), conv(half, half, 3, 1, half, False), conv(half, half, 1))
        self.mix = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        one, other = x.chunk(2, 1)
        return self.mix(torch.cat([one, self.block(other)], 1))


class ChannelsLast(nn.Module):
    """A layer of the last axis, on that of the channels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def head(channels: int) -> list[nn.Module]:
    """Global pooling and 1000 scores."""
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 1000)]


def mobilenet() -> nn.Module:
    """Inverted residuals: wide depthwise 3x3 between products of channels."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2)]
    channels = 32
    for outputs, blocks, stride in ((16, 1, 1), (24, 2, 2), (32, 3, 2), (64, 3, 2), (96, 2, 1)):
        for number in range(blocks):
            wide, step = 6 * channels, stride if number == 0 else 1
            parts = conv(channels, wide, 1), conv(wide, wide, 3, step, wide), conv(wide, outputs, 1, act=False)
            block = nn.Sequential(*parts)
            layers.append(Residual(block) if step == 1 and channels == outputs else block)
            channels = outputs
    return nn.Sequential(*layers, conv(channels, 640, 1), *head(640))


def shufflenet() -> nn.Module:
    """Channels split and shuffled."""
    layers: list[nn.Module] = [conv(3, 24, 3, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 24
    for outputs, blocks in ((116, 3), (232, 7), (464, 3)):
        layers += [conv(channels, channels, 3, 2, channels, False), conv(channels, outputs, 1)]
        layers += [Shuffled(outputs) for _ in range(blocks)]
        channels = outputs
    return nn.Sequential(*layers, conv(channels, 1024, 1), *head(1024))


def convnext() -> nn.Module:
    """Depthwise 7x7 and two Linear layers over the channels."""
    layers: list[nn.Module] = [nn.Conv2d(3, 40, 4, 4)]
    for channels, blocks in ((40, 2), (80, 2), (160, 4), (320, 2)):
        if channels > 40:
            layers.append(nn.Conv2d(channels // 2, channels, 2, 2))
        for _ in range(blocks):
            wide = nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels)
            depthwise = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
            layers.append(
                Residual(nn.Sequential(depthwise, ChannelsLast(nn.Sequential(nn.LayerNorm(channels), *wide))))
            )
    return nn.Sequential(*layers, *head(320))


def resnet() -> nn.Module:
    """ResNet-18's blocks of two 3x3."""
    layers: list[nn.Module] = [conv(3, 64, 7, 2), nn.MaxPool2d(3, 2, 1)]
    channels = 64
    for outputs in (64, 128, 256, 512):
        for number in range(2):
            stride = 2 if number == 0 and outputs > 64 else 1
            block = nn.Sequential(conv(channels, outputs, 3, stride), conv(outputs, outputs, 3, act=False))
            around = conv(channels, outputs, 1, stride, act=False) if channels != outputs else None
            layers.append(Residual(block, around, act=True))
            channels = outputs
    return nn.Sequential(*layers, *head(512))


def replknet() -> nn.Module:
    """A depthwise 31x31 (29, 27) with a 5x5 beside it, between products of channels."""
    layers: list[nn.Module] = [conv(3, 32, 3, 2), conv(32, 32, 3, 2, 32)]
    for channels, size in ((32, 31), (64, 29), (128, 27)):
        if channels > 32:
            layers.append(conv(channels // 2, channels, 3, 2))
        for _ in range(2):
            small = conv(channels, channels, 5, 1, channels, False)
            large = Residual(conv(channels, channels, size, 1, channels, False), small, act=True)
            parts = nn.BatchNorm2d(channels), conv(channels, channels, 1), large, conv(channels, channels, 1, act=False)
            layers.append(Residual(nn.Sequential(*parts)))
    return nn.Sequential(*layers, *head(128))


MODELS: dict[str, Callable[[], nn.Module]] = {
    "MobileNetV2": mobilenet,
    "ShuffleNetV2": shufflenet,
    "ConvNeXt": convnext,
    "ResNet": resnet,
    "RepLKNet": replknet,
}


def show(name: str, report: bool) -> None:
    """Tune, and print a row; raises AssertionError where the tuned model is another than it was."""
    torch.manual_seed(0)
    plain, x = MODELS[name](), torch.randn(IMAGES)
    model = copy.deepcopy(plain)
    start = time.perf_counter()
    tuning = tc.tune(model, x)
    took = time.perf_counter() - start
    assert list(model.state_dict()) == list(plain.state_dict())
    changed = sum(isinstance(one, tc.nn.Conv) for one in model.modules())
    model.eval(), plain.eval()
    output, grads = (_difference(*pair) for pair in zip(_results(model, x), _results(plain, x), strict=True))
    assert output < 1e-3, f"outputs differ by {output:.1g} of their norm"
    assert grads < 1e-2, f"gradients differ by {grads:.1g} of their norm"  # a rounded 0 may turn a ReLU
    ratios = [_ratios(run, plain, model, x) for run in (_infer, _step)]
    count = sum(len(layer.names) for layer in tuning.layers)
    print(f"{name:14}{ratios[0]:>28}{ratios[1]:>28}{f'{changed} of {count}':>12}{took:8.0f} s", flush=True)
    if report:
        print(f"{tuning}\n")


def _infer(model: nn.Module, x: Tensor) -> None:
    with torch.no_grad():
        model(x)


def _step(model: nn.Module, x: Tensor) -> None:
    torch.autograd.grad(model(x).square().sum(), list(model.parameters()))


def _ratios(run: Callable, plain: nn.Module, model: nn.Module, x: Tensor) -> str:
    """Of the seconds on the clock, and of those of the processor, which other programs on the machine change less."""
    clock, processor = [], []
    for number in range(ROUNDS + 1):
        times = {}
        for one in (plain, model) if number % 2 else (model, plain):
            start = time.perf_counter(), time.process_time()
            run(one, x)
            times[one] = time.perf_counter() - start[0], time.process_time() - start[1]
        clock.append(times[plain][0] / times[model][0])
        processor.append(times[plain][1] / times[model][1])
    low, middle, high = quantiles(clock[1:], n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f}), {median(processor[1:]):.2f}"


def _results(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and the gradients of all parameters in one row."""
    output = model(x)
    grads = torch.autograd.grad(output.square().sum(), list(model.parameters()))
    return output.detach(), torch.cat([one.flatten() for one in grads])


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def main() -> None:
    """Tune every model in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="only the models with these letters in their names")
    parser.add_argument("--report", action="store_true", help="print the report of each model too")
    given = parser.parse_args()
    print(machine())
    print(f"\n{'times as fast':14}{'inference':>28}{'training step':>28}{'planned':>12}{'tuned in':>10}")
    for name in MODELS:
        if given.model.lower() in name.lower():
            with tempfile.TemporaryDirectory() as folder:
                os.environ["TORCHCONV_WISDOM"] = folder
                show(name, given.report)


if __name__ == "__main__":
    main()
