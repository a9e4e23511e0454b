"""Tiles against the whole: models that were not written here, and a U-Net on an image that fits in no memory.

    python -m benchmarks.tiled [SIZE]    (2560 by default; the models are those of transformers, small, random weights)

For every model: the largest difference from the whole image relative to the largest output, passes over the image,
arithmetic of the last pass, time and memory beyond the output, each against the whole.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional

from torchconv.convert.tiled.model import TiledModel
from torchconv.errors import UnsupportedError

from . import measure

FOUR = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 1, 1]}
HEADS = FOUR | {"num_attention_heads": [1, 1, 2, 2]}
STAGES = {"out_features": ["stage1", "stage2", "stage3", "stage4"]}
VIT = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64, "patch_size": 16}
MOBILE = {"depth_multiplier": 0.35}
SWIN = {"embed_dim": 16, "depths": [1, 1], "num_heads": [2, 4], "window_size": 4}
MODELS: dict[str, dict[str, Any]] = {
    "ResNetModel": {"embedding_size": 16, **FOUR},
    "RegNetModel": {"embedding_size": 16, **FOUR},
    "BitModel": {"embedding_size": 16, "hidden_sizes": [16, 32, 32, 64], "depths": [1] * 4, "num_groups": 4},
    "ConvNextModel": FOUR,
    "ConvNextV2Model": FOUR,
    "MobileNetV1Model": MOBILE,
    "MobileNetV2Model": MOBILE,
    "MobileNetV2ForSemanticSegmentation": MOBILE,
    "EfficientNetModel": {"width_coefficient": 0.3, "depth_coefficient": 0.3, "hidden_dim": 384},
    "PoolFormerModel": FOUR,
    "SwiftFormerModel": {"embed_dims": [16, 24, 32, 48], "depths": [1] * 4},
    "HGNetV2Backbone": {
        "stem_channels": [3, 8, 16],
        "stage_in_channels": [16, 16, 32, 32],
        "stage_mid_channels": [8] * 4,
        "stage_out_channels": [16, 32, 32, 64],
        "stage_num_blocks": [1] * 4,
        "stage_numb_of_layers": [2] * 4,
        "hidden_sizes": [16, 32, 32, 64],
        "depths": [1] * 4,
        "embedding_size": 16,
    },
    "PPLCNetForImageClassification": {},
    "FocalNetModel": {"embed_dim": 16, "hidden_sizes": [16, 32, 64, 64], "depths": [1] * 4},
    "UperNetForSemanticSegmentation": {
        "backbone_config": {"model_type": "resnet", "embedding_size": 16, **FOUR, **STAGES},
        "hidden_size": 16,
        "auxiliary_channels": 8,
        "auxiliary_in_channels": 32,
    },
    "SegformerForSemanticSegmentation": HEADS | {"decoder_hidden_size": 16},
    "SwinModel": SWIN | {"depths": [2, 2]},
    "BeitForSemanticSegmentation": VIT | {"image_size": 224, "out_indices": [0, 1, 2, 3]},
    "DPTForSemanticSegmentation": VIT | {"image_size": 224, "is_hybrid": False, "backbone_out_indices": [0, 1, 2, 3]},
}
TILE = 1024


class UNet(nn.Module):
    """Ronneberger et al. 2015, of four levels, padded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(5)]
        self.down = nn.ModuleList(map(_block, [3, *widths], widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, 2) for width in widths[:-1])
        self.joined = nn.ModuleList(_block(2 * width, width) for width in widths[:-1])
        self.last = nn.Conv2d(channels, 12, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept: list[Tensor] = []
        for block in self.down:
            x = block(functional.max_pool2d(x, 2) if kept else x)
            kept.append(x)
        for number in reversed(range(len(self.up))):
            x = self.joined[number](torch.cat([kept[number], self.up[number](x)], 1))
        return self.last(x)


def _block(inputs: int, outputs: int) -> nn.Module:
    layers: list[nn.Module] = []
    for number in (inputs, outputs):
        layers += [nn.Conv2d(number, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(True)]
    return nn.Sequential(*layers)


def built(name: str, settings: dict[str, Any]) -> nn.Module:
    import transformers

    transformers.logging.set_verbosity_error()
    kind = getattr(transformers, name)
    torch.manual_seed(0)
    return kind(kind.config_class(**settings)).eval()


def in_tiles(tiled: TiledModel, image: Tensor) -> Tensor:
    for number in range(tiled.passes - 1):
        states = [tiled.accumulate(number, at, image.__getitem__) for at in range(len(tiled.statistics_boxes(number)))]
        merged = states[0]
        for state in states[1:]:
            merged = tiled.merge(number, merged, state)
        tiled.finish(number, merged)
    found = torch.empty(tiled.output_shape)
    for box in tiled.tiles:
        found[box] = tiled.compute(box, image.__getitem__)
    return found


def row(name: str, model: nn.Module, image: Tensor) -> list[str]:
    try:
        tiled = TiledModel(model, image.shape, TILE, statistics="two-pass", output=_output(model, image))
    except UnsupportedError as error:
        return [name, "refused", *[""] * 4, " for " + str(error).partition("got ")[2].partition(":")[0]]
    kept: dict[str, Tensor] = {}
    with torch.no_grad():
        seconds = {}
        for way, run in _ways(model, tiled, image).items():
            start = time.process_time()
            kept[way] = run()
            seconds[way] = time.process_time() - start
    whole, found = kept["whole"].float(), kept["tiles"]
    apart = float((whole - found).abs().max() / whole.abs().max())
    work = sum(map(tiled.macs, tiled.tiles)) / max(tiled.whole_macs, 1)
    ratio = seconds["tiles"] / seconds["whole"]
    most = max(map(tiled.workspace_bytes, tiled.tiles))
    equal = "bit for bit" if torch.equal(whole, found) else f"{apart:.0e}"
    return [
        name,
        equal,
        str(tiled.passes),
        str(len(tiled.tiles)),
        f"{work:.2f}",
        f"{ratio:.2f}",
        f"{most / 1e6:.0f} MB",
    ]


def _ways(model: nn.Module, tiled: TiledModel, image: Tensor) -> dict[str, Callable[[], Tensor]]:
    return {"whole": lambda: first(model(image)), "tiles": lambda: in_tiles(tiled, image)}


def first(answer: Any) -> Tensor:
    """The first tensor of an answer."""
    return next(one for one in torch.utils._pytree.tree_leaves(answer) if isinstance(one, Tensor))


def _output(model: nn.Module, image: Tensor) -> int | None:
    """The first of several."""
    with torch.no_grad():
        small = model(image[..., :256, :256])
    return 0 if len([one for one in torch.utils._pytree.tree_leaves(small) if isinstance(one, Tensor)]) > 1 else None


def main() -> None:
    logging.disable(logging.WARNING)
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 2560
    torch.manual_seed(0)
    image = torch.randn(1, 3, size, size)
    console = Console(width=120)
    console.print(f"{measure.machine()}; image {size} x {size}, tiles of {TILE}")
    said = "{:36}{:>12}{:>8}{:>7}{:>12}{:>7}{:>18}".format
    console.print(said("model", "difference", "passes", "tiles", "arithmetic", "time", "memory of a tile"))
    for name, settings in MODELS.items():
        console.print(said(*row(name, built(name, settings), image)))
    console.print(said(*row("U-Net, 16 to 256 channels", UNet(16).eval(), image)))
    huge(console)


def huge(console: Console) -> None:
    """One inner tile of a U-Net on 20,000 x 20,000 pixels, and the arithmetic of all."""
    for channels in (16, 64):
        tiled = TiledModel(UNet(channels).eval(), (1, 3, 20_000, 20_000), TILE)
        work = sum(map(tiled.macs, tiled.tiles)) / tiled.whole_macs
        box = tiled.tiles[len(tiled.tiles) // 2 + 10]
        image = torch.randn([one.stop - one.start for one in tiled.input_box(box)])
        peak = measure.peak_bytes(lambda tiled=tiled, box=box, image=image: tiled.compute(box, lambda _: image))
        said = f"estimated {tiled.workspace_bytes(box) / 1e9:.2f} GB, measured {peak / 1e9:.2f} GB beyond the model"
        console.print(f"U-Net of {channels} channels on 20,000 x 20,000: arithmetic {work:.3f} of the whole; {said}")


if __name__ == "__main__":
    main()
