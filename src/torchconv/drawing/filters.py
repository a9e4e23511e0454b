"""Pictures as data inside a page: thumbnails of images, and the kernels of a first convolution."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..description.convolution import Convolution
from ..language.network_module import NetworkModule
from ..network import operations as ops
from .svg import data_uri, png_of

MOST_SIDE = 96
MOST_FILTERS, MOST_CHANNELS = 64, 16


@dataclass(frozen=True)
class Filters:
    """The kernels of a network's first convolution: a picture, its size in pixels, and what it shows."""

    uri: str
    width: int
    height: int
    said: str


def png(pixels: Tensor) -> str:
    """uint8 (channels, height, width) as a PNG in a data URI; large ones made smaller. Other channels: the first."""
    channels = pixels if pixels.shape[0] == 3 else pixels[0]
    array = (channels.permute(1, 2, 0) if channels.dim() == 3 else channels).contiguous().numpy()
    if max(array.shape[:2]) > MOST_SIDE:
        image = Image.fromarray(array)
        image.thumbnail((MOST_SIDE, MOST_SIDE), Image.Resampling.LANCZOS)
        array = np.asarray(image)
    return data_uri(png_of(array))


def filters(module: NetworkModule) -> Filters | None:
    """The kernels of the first convolution, if it has two axes; None without one."""
    node = next((node for node in module.network.nodes if isinstance(node.operation, ops.Convolve)), None)
    if node is None or not isinstance(node.operation, ops.Convolve) or node.operation.convolution.ndim != 2:
        return None
    weight = module.get_submodule(node.name).weight
    assert isinstance(weight, Tensor)
    kernels, place = _kernels(weight.detach().cpu().float(), node.operation.convolution)
    count, channels = kernels.shape[:2]
    shown = kernels[:MOST_FILTERS, :MOST_CHANNELS] if channels not in (1, 3) else kernels[:MOST_FILTERS]
    # each filter by its own largest weight: grey is 0
    strength = shown.abs().amax((1, 2, 3), keepdim=True).clamp(min=1e-12)
    bytes_ = ((shown / strength + 1) * 127.5).round().clamp(0, 255).nan_to_num(127).to(torch.uint8)
    colour = channels == 3
    tiles = bytes_.permute(0, 2, 3, 1) if colour else bytes_.flatten(0, 1)[..., None].expand(-1, -1, -1, 3)
    across = min(len(tiles), 8 if len(tiles) <= 32 else 16) if channels in (1, 3) else shown.shape[1]
    image = _grid(tiles.numpy(), across)
    each = "in colour" if colour else "in grey" if channels == 1 else f"a row each, its {shown.shape[1]} inputs across"
    some = f"the first {len(shown)} of {count}" if count > len(shown) else f"all {count}"
    said = f"{node.name}: {some} filters of {weight.shape[-2]}x{weight.shape[-1]}, {each}{place}; mid grey is 0"
    height, width = image.shape[:2]
    zoom = max(1, min(12, 860 // width))  # whole pixels, as wide as the page has room for
    return Filters(data_uri(png_of(image)), width * zoom, height * zoom, said)


def _kernels(weight: Tensor, convolution: Convolution) -> tuple[Tensor, str]:
    """(filters, channels, height, width) of one phase, and which."""
    own = 3 if convolution.channels.rows is not None else 4
    phases = weight.shape[: weight.dim() - own]
    for length in phases:
        weight = weight[length // 2]
    place = f" at position {', '.join(str(length // 2) for length in phases)}" if phases else ""
    return (weight[:, None] if own == 3 else weight), place


def _grid(tiles: np.ndarray, across: int) -> np.ndarray:
    """The page of tiles (N, height, width, 3) in rows, a clear pixel between them."""
    count, height, width, _ = tiles.shape
    down = -(-count // across)
    page = np.zeros((down * (height + 1) - 1, across * (width + 1) - 1, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // across * (height + 1), number % across * (width + 1)
        page[top : top + height, left : left + width, :3] = tile
        page[top : top + height, left : left + width, 3] = 255
    return page
