"""`python -m benchmarks.tuning`: tc.tune on models in real use, with random weights, before and after.

ConvNeXt-Tiny as `transformers` has it, where that is installed; a stack of RepLKNet's blocks with kernels of 31, 29 and
27 (Ding et al. 2022); and a stack of dilated causal convolutions as WaveNet's (van den Oord et al. 2016), without its
gates. Every convolution is measured once, which the first column of seconds counts; nothing is remembered. Outputs,
gradients and the keys of state_dict are compared with those of a copy that was not tuned.
"""

from __future__ import annotations

import argparse
import copy
import os
import tempfile
import time
from collections.abc import Callable

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

import torchconv as tc
from benchmarks.measure import machine

WAVES = 16_000  # samples of a second of speech


def _block(channels: int, taps: int) -> str:
    """RepLKNet's: a depthwise kernel and a small one beside it, between two products of channels."""
    both = " | ".join(f"CONV[{channels}, {one}x{one}, groups={channels}, bias=no] - NORM" for one in (taps, 5))
    wide = f"NORM - CONV[{channels}, 1x1, bias=no] - NORM - RELU"
    return f"SUM({wide} - SUM({both}) - RELU - CONV[{channels}, 1x1, bias=no] - NORM | IDENTITY)"


def _layer(dilation: int) -> str:
    """WaveNet's, which sees what came before only."""
    return f"SUM(CONV[64, 2, dilation={dilation}, padding={dilation}:0] - TANH - CONV[64, 1] | IDENTITY)"


REPLKNET = " - ".join(
    [
        "INPUT[224x224x3] - CONV[64, stride=2, padding=1] - NORM - RELU - CONV[64, stride=2, padding=1, groups=64]",
        *[_block(64, 31)] * 2,
        "NORM - CONV[128, 2x2, stride=2, valid]",
        *[_block(128, 29)] * 2,
        "NORM - CONV[256, 2x2, stride=2, valid]",
        *[_block(256, 27)] * 2,
        "NORM - GLOBALPOOL - FC[1000]",
    ]
)
LAYERS = [_layer(2**power) for _ in range(2) for power in range(10)]
WAVENET = " - ".join([f"INPUT[{WAVES}x1] - CONV[64, 32, padding=31:0]", *LAYERS, "RELU - CONV[256, 1]"])


def convnext() -> tuple[nn.Module, Tensor] | None:
    """ConvNeXt-Tiny with random weights and two images; None where `transformers` is not installed."""
    try:
        from transformers import ConvNextConfig, ConvNextForImageClassification
    except ImportError:
        return None
    return ConvNextForImageClassification(ConvNextConfig(num_labels=1000)), torch.randn(2, 3, 224, 224)


def replknet() -> tuple[nn.Module, Tensor]:
    """The stack of large kernels and two images."""
    return _of_torch(tc.build(REPLKNET)), torch.randn(2, 3, 224, 224)


def wavenet() -> tuple[nn.Module, Tensor]:
    """The stack of dilated kernels and a second of sound."""
    return _of_torch(tc.build(WAVENET)), torch.randn(1, 1, WAVES)


def _of_torch(model: nn.Module) -> nn.Module:
    """The model with torch's own convolutions, zeros before the samples added by a layer of their own."""
    for name, one in list(model.named_children()):
        if isinstance(one, tc.nn.Conv):
            kind = {1: nn.Conv1d, 2: nn.Conv2d}[one.convolution.ndim]
            sides, conv = one.convolution.padding, one.convolution
            low = tuple(side[0] for side in sides) if all(low == high for low, high in sides) else 0
            new = kind(
                conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, low, conv.dilation, conv.groups
            )
            new.weight, new.bias = one.weight, one.bias
            pad = () if low else (nn.ConstantPad1d(sides[0], 0.0),)
            setattr(model, name, nn.Sequential(*pad, new) if pad else new)
    return model


MODELS: dict[str, Callable[[], tuple[nn.Module, Tensor] | None]] = {
    "ConvNeXt-Tiny, 2 images of 224x224": convnext,
    "RepLKNet-style, 2 images of 224x224": replknet,
    f"WaveNet-style, {WAVES} samples": wavenet,
}


def show(name: str, model: nn.Module, example: Tensor) -> None:
    """Tune and print the table; raises AssertionError where the tuned model is another than it was."""
    plain, keys = copy.deepcopy(model), list(model.state_dict())
    start = time.perf_counter()
    tuning = tc.tune(model, example)
    print(f"\n{name}: tuned in {time.perf_counter() - start:.0f} s\n{tuning}")
    assert list(model.state_dict()) == keys
    differences = [_difference(*pair) for pair in zip(_results(model, example), _results(plain, example), strict=True)]
    assert differences[0] < 1e-3, f"the output differs by {differences[0]:.1g} of its norm"
    assert differences[1] < 1e-2, f"the gradients differ by {differences[1]:.1g}"  # a rounded 0 may turn a ReLU
    print("output and gradients differ by {:.1e} and {:.1e} of their norms".format(*differences), flush=True)


def _results(model: nn.Module, example: Tensor) -> tuple[Tensor, Tensor]:
    """The output, and the gradients of all parameters in one row."""
    output = next(one for one in pytree.tree_leaves(model.eval()(example)) if isinstance(one, Tensor))
    grads = torch.autograd.grad(output.square().sum(), list(model.parameters()))
    return output.detach(), torch.cat([one.flatten() for one in grads])


def _difference(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


def main() -> None:
    """Tune every model in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="", help="only the models with these letters in their names")
    wanted = parser.parse_args().model.lower()
    print(machine())
    for name, make in MODELS.items():
        if wanted not in name.lower():
            continue
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as folder:
            os.environ["TORCHCONV_WISDOM"] = folder
            made = make()
            if made is None:
                print(f"\n{name}: not installed")
            else:
                show(name, *made)


if __name__ == "__main__":
    main()
