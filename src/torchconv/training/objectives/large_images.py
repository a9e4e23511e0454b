"""Labels of the pixels of large images, tile by tile, the same as in one piece.

What a run does to an image, with all that it does before and after its network, is one module, of which each tile is
computed exactly; so images that do not fit in memory have the labels that they would have if they did.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...convert.tiled.image_files import open_image
from ...convert.tiled.inference import tiled
from ...errors import DataError, UnsupportedError
from ...text import install
from ..data import images
from ..data.labels import PixelLabels

LARGE = 2**22  # pixels from which an image goes through the network in tiles
MEMORY = "2GB"  # for a tile, where nothing is said
ARRAYS = (".npy", ".zarr")
SIDE = 512  # of the tiles of a label image
BAND = 2**24  # values of a result that are looked at at once


def pixel_count(path: Path) -> float:
    """Pixels of an image file, by its head; 0 for what cannot be read, and without end for arrays."""
    from PIL import Image

    if path.suffix in ARRAYS:
        return float("inf")
    with suppress(OSError, SyntaxError, ValueError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with Image.open(path, formats=images.FORMATS) as image:
                return image.width * image.height
        except Image.DecompressionBombError:
            return float("inf")
    return 0


def in_tiles(
    module: nn.Module, image: Tensor | Path, channels: int, place: Path | None, probabilities: bool, **settings: Any
) -> np.ndarray:
    """The classes of an image's pixels, uint8 (height, width), or their probabilities.

    module: from bytes (1, channels, height, width) to probabilities. image: bytes (channels, height, width), or a file
    that is read in parts. place: a .npy file for the result, beside which there is a journal while it is not finished.
    Raises DataError for an image that cannot be read in parts.
    """
    if isinstance(augmentation := getattr(module, "augmentation", "none"), str) and augmentation != "none":
        what, got = f"a run with test_time_augmentation={augmentation}, in tiles", "its answer to the mirror image too"
        raise UnsupportedError(what, got=got, expected="answers to the image alone", fix="Train with none.")
    if settings["tile"] is None and settings["memory"] is None:
        settings["memory"] = MEMORY
    call = tiled(module, **settings, dtype=torch.uint8, postprocess=_chances if probabilities else _classes)
    source, order = (image, "first") if isinstance(image, Tensor) else _opened(image, channels)
    try:
        found = np.asarray(call(source, channels=order, out=place))
    except KeyboardInterrupt:
        kept = (
            "" if place is None else f"; finished tiles are kept in {place.parent}: the same command goes on with them"
        )
        raise KeyboardInterrupt(f"interrupted{kept}") from None
    return np.moveaxis(found, -1, 0) if probabilities and order == "last" else found


def _classes(answers: Tensor) -> Tensor:
    return answers.argmax(1).to(torch.uint8)


def _chances(answers: Tensor) -> Tensor:
    return answers.float()


def _opened(path: Path, channels: int) -> tuple[Any, str]:
    """An image that is read in parts, and where its channels are."""
    found, order = open_image(path)
    shape = tuple(map(int, found.shape))
    has = 1 if len(shape) == 2 else shape[0 if order == "first" else -1]
    if len(shape) not in (2, 3) or has != channels or found.dtype != np.uint8:
        got = f"{found.dtype}, {'x'.join(map(str, shape))}"
        expected = f"bytes of {channels} channels, as in the training"
        raise DataError(f"image {path}", got=got, expected=expected, fix="Write it so, as TIFF in tiles or .npy.")
    return found, order


def likeliest(chances: np.ndarray) -> np.ndarray:
    """The classes (height, width) of probabilities (classes, height, width) that may lie in a file."""
    found, rows = np.empty(chances.shape[1:], np.uint8), max(1, BAND // (chances.size // chances.shape[1]))
    for start in range(0, len(found), rows):
        found[start : start + rows] = chances[:, start : start + rows].argmax(0)
    return found


def counts(classes: np.ndarray, most: int) -> list[int]:
    """How many pixels each class has."""
    found, rows = np.zeros(most, np.int64), max(1, BAND // classes.shape[1])
    for start in range(0, len(classes), rows):
        found += np.bincount(classes[start : start + rows].ravel(), minlength=most)
    return found.tolist()


def write_large(path: Path, classes: np.ndarray, labels: PixelLabels) -> None:
    """A label image too large for PNG, as TIFF in compressed tiles, with the values and colours of the labels."""
    try:
        import tifffile
    except ModuleNotFoundError:
        got = "no package tifffile to write them with"
        raise DataError(f"labels {path}", got=got, fix=install("tiff")) from None
    colours = np.array(labels.palette, np.uint16).reshape(256, 3).T * 257
    values, temporary = np.array(labels.values, dtype=np.uint8), path.with_name(f".{path.name}.tmp")

    def tiles() -> Iterator[np.ndarray]:
        for top in range(0, classes.shape[0], SIDE):
            for left in range(0, classes.shape[1], SIDE):
                yield values[classes[top : top + SIDE, left : left + SIDE]]

    kind: dict[str, Any] = {"photometric": "palette", "colormap": colours, "compression": "zlib"}
    try:
        tifffile.imwrite(temporary, tiles(), shape=classes.shape, dtype=np.uint8, tile=(SIDE, SIDE), **kind)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
