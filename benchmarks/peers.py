"""`python -m benchmarks.peers`: filters, signals, large kernels and unshared layers against libraries that have them.

torch in both memory layouts, scipy.signal (where a channel has a kernel of its own), JAX, fft-conv-pytorch and OpenCV
(one channel); what is not installed says so. A peer's result must be torchconv's before it is timed, and its rounds
take turns with torchconv's in one process. Numbers are times torchconv's time: below 1 the peer is faster. What is more
than 20 times slower at first is not run again. Forward only, float32, 2-d correlation with zeros around.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from math import exp, log, prod
from statistics import median
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("TORCHCONV_WISDOM", os.devnull)  # the choices as they come, without any tuning

import numpy as np
import scipy.signal
import torch
from torch import Tensor
from torch.nn import functional as F

import torchconv as tc
from benchmarks import jax_peer
from benchmarks.grid import GRID, Shape
from benchmarks.measure import machine

FAMILIES = ("filters", "signals", "large kernels", "unshared")
PACKAGES = {"scipy": "scipy", "jax": "jax", "fft-conv": "fft-conv-pytorch", "OpenCV": "opencv-python-headless"}
PLAIN = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
SLOWER, ROUNDS, SECONDS = 20, 7, 0.6
Call = Callable[[], Any]


def installed(package: str) -> bool:
    """Whether a package is there."""
    try:
        return bool(version(package))
    except PackageNotFoundError:
        return False


def of_torch(shape: Shape, x: Tensor, weight: Tensor, layout: torch.memory_format) -> Call | None:
    """torch's convolution; channels-last for images only."""
    if shape.sharing != "full" or (layout == torch.channels_last and x.ndim != 4):
        return None
    x, weight = (one.contiguous(memory_format=layout) for one in (x, weight))
    padding = tuple(side[0] for side in shape.convolution.padding)
    return lambda: PLAIN[x.ndim - 2](x, weight, None, shape.stride, padding, shape.dilation, shape.groups)


def of_scipy(shape: Shape, x: Tensor, weight: Tensor) -> dict[str, Call]:
    """Every image and channel in turn by fftconvolve, oaconvolve and convolve, padded as the convolution is."""
    if not shape.groups == shape.ins == shape.outs or shape.stride > 1 or shape.dilation > 1:
        return {}
    pads = [(0, 0), (0, 0), *shape.convolution.padding]
    padded, kernels = np.pad(x.numpy(), pads), np.flip(weight.numpy(), tuple(range(2, weight.ndim)))
    functions = {name: getattr(scipy.signal, name) for name in ("fftconvolve", "oaconvolve", "convolve")}

    def call(function: Any) -> np.ndarray:
        channels = [[function(one, kernels[n, 0], mode="valid") for n, one in enumerate(image)] for image in padded]
        return np.array(channels)

    return {name: lambda function=function: call(function) for name, function in functions.items()}


def of_jax(shape: Shape, x: Tensor, weight: Tensor) -> Call | None:
    """JAX's, compiled."""
    if not jax_peer.jax or isinstance(shape.sharing, int):
        return None
    grad = torch.zeros(1)  # only the forward operation is called
    return jax_peer.calls(shape, x, weight, grad)[jax_peer.FORWARD]


def of_fft_conv(shape: Shape, x: Tensor, weight: Tensor) -> Call | None:
    """fft-conv-pytorch."""
    if not installed(PACKAGES["fft-conv"]) or shape.sharing != "full":
        return None
    fft_conv = import_module("fft_conv_pytorch").fft_conv
    padding = tuple(side[0] for side in shape.convolution.padding)
    settings = {"padding": padding, "stride": shape.stride, "dilation": shape.dilation, "groups": shape.groups}
    return lambda: fft_conv(x, weight, **settings)


def of_opencv(shape: Shape, x: Tensor, weight: Tensor) -> Call | None:
    """OpenCV's filter2D, of one image with one channel."""
    if not installed(PACKAGES["OpenCV"]) or x.ndim != 4 or x.shape[:2] != (1, 1):
        return None
    cv2 = import_module("cv2")
    image, kernel = x[0, 0].numpy(), weight[0, 0].numpy()
    return lambda: cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_CONSTANT)


def peers(shape: Shape, x: Tensor, weight: Tensor) -> dict[str, Call]:
    """The calls of all libraries that have such a convolution and are installed."""
    found = {
        "torch": of_torch(shape, x, weight, torch.contiguous_format),
        "torch last": of_torch(shape, x, weight, torch.channels_last),
        **of_scipy(shape, x, weight),
        "jax": of_jax(shape, x, weight),
        "fft-conv": of_fft_conv(shape, x, weight),
        "OpenCV": of_opencv(shape, x, weight),
    }
    return {name: call for name, call in found.items() if call is not None}


def row(shape: Shape) -> tuple[float, dict[str, float | str]]:
    """Seconds of torchconv, and how many times as long every peer takes, or what is wrong with it."""
    torch.manual_seed(0)
    conv = shape.convolution
    x = torch.randn(shape.batch, shape.ins, *shape.size)
    weight = torch.randn(conv.weight_shape(shape.size)) / prod(shape.kernel) ** 0.5
    layer = tc.nn.Conv.of(conv, input_size=shape.size)
    layer.weight.data = weight
    layer.requires_grad_(False)
    expected = layer(x)
    ours = min(_timed(lambda: layer(x)) for _ in range(3))
    ratios: dict[str, float | str] = {}
    for name, call in peers(shape, x, weight).items():
        ratios[name] = _compared(call, lambda: layer(x), expected, ours)
    return ours, ratios


def _compared(call: Call, own: Call, expected: Tensor, ours: float) -> float | str:
    start = time.perf_counter()
    result = np.asarray(call())
    first = time.perf_counter() - start
    away = float((torch.from_numpy(np.array(result)).reshape(expected.shape) - expected).abs().max())
    if away > 1e-3 * float(expected.abs().max()):
        return "wrong"
    if first > SLOWER * ours and (again := _timed(call) if first < 2 else first) > SLOWER * ours:
        return again / ours
    calls = max(1, int(SECONDS / ROUNDS / (first + ours)))
    pairs = [[_timed(case, calls) for case in (call, own)] for _ in range(ROUNDS)]
    return median(theirs / mine for theirs, mine in pairs)


def _timed(case: Call, calls: int = 1) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        case()
    return (time.perf_counter() - start) / calls


NAMES = ("torch", "torch last", "fftconvolve", "oaconvolve", "convolve", "jax", "fft-conv", "OpenCV")


def main() -> int:
    """Print the table; the status is 1 where a peer is faster by more than 5 %."""
    have = [
        f"{name} {version(package)}" if installed(package) else f"{name} not installed"
        for name, package in PACKAGES.items()
    ]
    print(machine() + ", " + ", ".join(have))
    warnings.filterwarnings("ignore", module="fft_conv_pytorch")
    print(f"\n{'family':14}{'batch,in,out,size,kernel':34}{'ours ms':>9}" + "".join(f"{name:>12}" for name in NAMES))
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    lost = []
    for shape in (shape for shape in GRID if shape.family in FAMILIES):
        ours, ratios = row(shape)
        cells = [ratios.get(name, "-" if installed(PACKAGES.get(name, "torch")) else "no package") for name in NAMES]
        words = (f"{cell:12.2f}" if isinstance(cell, float) else f"{cell:>12}" for cell in cells)
        print(f"{shape.family:14}{shape!s:34}{1e3 * ours:9.2f}" + "".join(words), flush=True)
        for name, value in ratios.items():
            if isinstance(value, float):
                found[name].append(value)
                lost += [f"{shape}: {name} {value:.2f}"] if value < 0.95 else []
    means = [exp(sum(map(log, values)) / len(values)) if values else float("nan") for values in found.values()]
    print(f"{'geometric mean':57}" + "".join(f"{mean:12.2f}" for mean in means))
    print(f"\nfaster than torchconv by more than 5 %: {'; '.join(lost) or 'none'}")
    return int(bool(lost))


if __name__ == "__main__":
    sys.exit(main())
