"""Tiny images with masks: bright rectangles and discs on dark ground, whose colours say the classes of pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

NAMES = ("ground", "box", "disc")
COLOURS = np.array([(20, 20, 20), (220, 30, 40), (30, 60, 230)], dtype=np.uint8)
NET = "INPUT - CONV[8, bias=no] - NORM - RELU - CONV[8, bias=no] - NORM - RELU - CONV[classes, 1x1]"


def pair(number: int, size: tuple[int, int] = (24, 32)) -> tuple[np.ndarray, np.ndarray]:
    """An image uint8 (height, width, 3) and its mask uint8 (height, width)."""
    rng = np.random.default_rng(number)
    height, width = size
    mask = np.zeros(size, dtype=np.uint8)
    y, x = rng.integers(0, height - 8), rng.integers(0, width - 8)
    mask[y : y + 8, x : x + 8] = 1
    down, across = np.ogrid[:height, :width]
    mask[(down - rng.integers(0, height)) ** 2 + (across - rng.integers(0, width)) ** 2 < 20] = 2
    noise = rng.integers(-15, 16, (*size, 3))
    return (COLOURS[mask].astype(np.int16) + noise).clip(0, 255).astype(np.uint8), mask


def png(array: np.ndarray, palette: list[int] | None = None) -> bytes:
    content = io.BytesIO()
    image = Image.fromarray(array)
    if palette is not None:
        image.putpalette(palette)
    image.save(content, format="PNG")
    return content.getvalue()


def write_pairs(root: Path, count: int = 20, first: int = 0, images: str = "images", masks: str = "masks") -> Path:
    """Folders of images and masks, of two sizes."""
    for folder in (images, masks):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        image, mask = pair(number, (24, 32) if number % 3 else (27, 30))
        (root / images / f"{number}.png").write_bytes(png(image))
        (root / masks / f"{number}.png").write_bytes(png(mask))
    return root


def write_table(path: Path, count: int = 12, first: int = 0, offset: int = 0) -> Path:
    """A parquet file as Hugging Face writes it; offset: added to the labels."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pairs = [pair(number) for number in range(first, first + count)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "image": pa.array([{"bytes": png(image), "path": "a.png"} for image, _ in pairs], kind),
        "mask": pa.array([{"bytes": png(mask + np.uint8(offset)), "path": "a.png"} for _, mask in pairs], kind),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)
    return path
