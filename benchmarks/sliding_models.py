"""Sixty classifiers of timm and transformers: which slide over larger images, and which layer reads the whole image.

    python -m benchmarks.sliding_models [part of a name ...]

Weights are random, networks of transformers small; nothing is downloaded. What slides is compared in float64 with the
model itself: on an image of the window's size, and on a larger one, whose last map of features is cut to one window's
places in front of the pooling over all of them. Models of a library that is not installed are left out.
"""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

import torchconv as tc
from torchconv.errors import TorchconvError

from . import measure

TIMM = """
    resnet18 resnet50 resnet26d resnext50_32x4d wide_resnet50_2 resnetv2_50 nf_resnet26 res2net50_14w_8s densenet121
    vgg16 vgg11_bn inception_v3 inception_v4 inception_resnet_v2 legacy_xception xception41 mobilenetv1_100
    mobilenetv2_100 mobilenetv3_small_100 mobilenetv4_conv_small mnasnet_100 fbnetc_100 efficientnet_b0
    efficientnet_lite0 ghostnet_100 regnetx_002 regnety_002 dla34 hrnet_w18_small dpn68 selecsls42b vovnet39a
    cspresnet50 darknet53 gernet_s repvgg_a0 mobileone_s0 convnext_atto convnextv2_atto inception_next_atto
    convmixer_768_32 fasternet_t0 starnet_s1 vit_tiny_patch16_224 swin_tiny_patch4_window7_224
"""
FOUR = {"hidden_sizes": [8, 16, 24, 32], "depths": [2, 1, 1, 1]}
STEM = FOUR | {"embedding_size": 8}
VIT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 64}
HGNET = {"stem_channels": [3, 8, 16], "stage_in_channels": [16, 16, 32, 32], "stage_mid_channels": [8] * 4}
HGNET |= {"stage_out_channels": [16, 32, 32, 64], "stage_num_blocks": [1] * 4, "stage_numb_of_layers": [2] * 4}
HGNET |= {"hidden_sizes": [16, 32, 32, 64], "depths": [1] * 4, "embedding_size": 16}
TEXTNET = {"stem_out_channels": 8, "conv_layer_strides": [[1, 2], [2], [2], [2]], "hidden_sizes": [8, 8, 16, 16, 24]}
TEXTNET |= {"conv_layer_kernel_sizes": [[[3, 3], [3, 3]], [[3, 3]], [[3, 3]], [[3, 3]]]}
SWIN = {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "window_size": 4, "image_size": 64}
BIT = {"embedding_size": 8, "hidden_sizes": [16, 32, 32, 64], "depths": [1] * 4, "num_groups": 4}
TRANSFORMERS: dict[str, tuple[str, dict[str, Any]]] = {
    "ResNet, basic": ("ResNet", STEM | {"layer_type": "basic"}),
    "ResNet, bottleneck": ("ResNet", STEM | {"layer_type": "bottleneck"}),
    "ConvNext": ("ConvNext", FOUR),
    "ConvNextV2": ("ConvNextV2", FOUR),
    "MobileNetV1": ("MobileNetV1", {"depth_multiplier": 0.25}),
    "MobileNetV2": ("MobileNetV2", {"depth_multiplier": 0.25}),
    "RegNet X": ("RegNet", STEM | {"groups_width": 4, "layer_type": "x"}),
    "RegNet Y": ("RegNet", STEM | {"groups_width": 4, "layer_type": "y"}),
    "HGNetV2": ("HGNetV2", HGNET),
    "TextNet": ("TextNet", TEXTNET),
    "EfficientNet": ("EfficientNet", {"width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320}),
    "Bit": ("Bit", BIT),
    "PoolFormer": ("PoolFormer", FOUR),
    "ViT": ("ViT", VIT | {"patch_size": 8}),
    "Swin": ("Swin", SWIN),
}
WINDOWS = {"vgg16": 224, "vgg11_bn": 224, "vit_tiny_patch16_224": 224, "swin_tiny_patch4_window7_224": 224}
WINDOWS |= {"ViT": 64, "Swin": 64, "inception_v3": 139, "inception_v4": 139, "inception_resnet_v2": 139}
WINDOW, MORE = 96, (64, 32)  # samples of a window where nothing else is said; by how many the larger image is larger
POOLS = (functional.adaptive_avg_pool2d, torch._C._nn.adaptive_avg_pool2d, Tensor.mean, torch.mean)


class CutInFront(TorchFunctionMode):
    """While this lasts, poolings over all places take those of one window only, that begins at a place.

    sizes: places of a window in front of each pooling; None: they are noted.
    """

    def __init__(self, sizes: list[tuple[int, ...]] | None = None, begin: tuple[int, ...] = (0, 0)) -> None:
        super().__init__()
        self.noted: list[tuple[int, ...]] = []
        self._sizes, self._begin = sizes, begin

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in POOLS and args[0].ndim == 4:
            x, *rest = args
            if self._sizes is not None:
                rows, columns = self._sizes[len(self.noted)]
                top, left = self._begin
                x = x[..., top : top + rows, left : left + columns]
            self.noted.append(tuple(x.shape[2:]))
            args = (x, *rest)
        with torch._C.DisableTorchFunctionSubclass(), _Apart():
            return func(*args, **(kwargs or {}))


class _Apart(TorchFunctionMode):
    """What a pooling calls in turn is no pooling of its own."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        return func(*args, **(kwargs or {}))


def settled(model: nn.Module) -> nn.Module:
    """In evaluation, in float64, with statistics and scales that are not those of a start."""
    for part in model.modules():
        if getattr(part, "running_mean", None) is not None:
            part.running_mean.normal_(0, 0.1)
            part.running_var.uniform_(0.5, 1.5)
    for name, one in model.named_parameters():
        if one.ndim < 2 or "gamma" in name or "layer_scale" in name:
            nn.init.uniform_(one, 0.2, 1)
    return model.double().eval()


def built(name: str) -> nn.Module:
    """A model of either library; raises ImportError where it is not installed."""
    torch.manual_seed(0)
    if name in TRANSFORMERS:
        library: Any = importlib.import_module("transformers")
        kind, settings = TRANSFORMERS[name]
        made = getattr(library, f"{kind}ForImageClassification")
        return settled(made(made.config_class(**settings, num_labels=10)))
    return settled(importlib.import_module("timm").create_model(name))


def scores(model: nn.Module, image: Tensor) -> Tensor:
    """What a model says of an image, in either library."""
    found = model(image)
    return found if isinstance(found, Tensor) else found.logits


@torch.no_grad()
def checked(model: nn.Module, sliding: nn.Module, window: int) -> tuple[float, float]:
    """The largest difference from the model itself, and between two places, both in parts of the largest score."""
    image = torch.randn(1, 3, window + MORE[0], window + MORE[1], dtype=torch.float64)
    crop = image[..., :window, :window]
    with CutInFront() as noted:
        alone = scores(model, crop)
    found = sliding(image)
    largest = alone.abs().max().item()
    errors = [(sliding(crop).flatten(1) - alone).abs().max().item()]
    for place in ((found.shape[2] - 1, found.shape[3] - 1), (1, 0)):
        with CutInFront(noted.noted, place):
            expected = scores(model, image)
        errors.append((found[..., place[0], place[1]] - expected).abs().max().item())
    apart = (found[..., 0, 0] - found[..., -1, -1]).abs().max().item()
    return max(errors) / largest, apart / largest


def row(name: str) -> tuple[str, ...]:
    """How one model does: its name, the window, the seconds of the conversion, the stride and the error, or why not."""
    model, window = built(name), WINDOWS.get(name, WINDOW)
    start = time.perf_counter()
    try:
        sliding = tc.as_convolution(model, (3, window, window))
    except TorchconvError as error:
        said = str(error).removeprefix("as_convolution of ").partition(", expected")[0]
        layer, _, reason = said.partition(": got one that cannot slide, since ")
        return name, str(window), "-", "refused", "-", f"{layer}: {reason}"
    seconds = time.perf_counter() - start
    stride = tc.receptive_field(sliding, (3, window + MORE[0], window + MORE[1])).stride
    error, apart = checked(model, sliding, window)
    right = error < 1e-6 * apart
    return name, str(window), f"{seconds:.1f}", "slides" if right else "WRONG", f"{error:.0e}", f"stride {stride[0]}"


def main() -> None:
    """Print one row for each model, and how many slide."""
    console = Console(width=190)
    console.print(measure.machine())
    wanted = sys.argv[1:]
    counts = {}
    for title, names in (("timm", TIMM.split()), ("transformers", [*TRANSFORMERS])):
        try:
            version = importlib.import_module(title).__version__
        except ImportError as error:
            console.print(f"{title} is left out: {error}")
            continue
        heads = "model|window|conversion, s|result|error|stride, or the layer that is refused"
        table = Table(*heads.split("|"), title=f"{title} {version}")
        for name in names:
            if not wanted or any(part in name for part in wanted):
                found = row(name)
                counts[name] = found[3] == "slides"
                table.add_row(*found)
        console.print(table)
    console.print(
        f"{sum(counts.values())} of {len(counts)} slide. Error: the largest difference of a score from the model's"
    )
    console.print("own, in parts of the largest score, in float64, over three windows.")


if __name__ == "__main__":
    main()
