"""Image files to bytes of one size. Files are hostile: known formats only, and pixels are counted before decoding."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ..errors import DataError
from ..network.operations import Volume

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MOST_PIXELS = 64 * 2**20
MODES = {1: "L", 3: "RGB"}


def check_volume(volume: Volume) -> None:
    """Raise DataError unless images can be brought to this volume."""
    if len(volume.size) != 2 or volume.channels not in MODES:
        raise DataError(
            "the INPUT of a network for images",
            got=volume,
            expected="height x width x channels with 1 channel (grey) or 3 (colour)",
            fix="Write INPUT[32x32x3], or INPUT alone.",
        )


def read_image(path: str | Path, volume: Volume) -> Tensor:
    """One image as uint8 (channels, height, width): turned as its EXIF data say, first frame, stretched to the size.

    Raises DataError for a file that is missing, no image, damaged, or of more than 64 Mi pixels.
    """
    check_volume(volume)
    height, width = volume.size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pillow warns of sizes and damaged tags; sizes are refused below
            with Image.open(path, formats=FORMATS) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise DataError(
                        f"image {path}", got=f"{image.width}x{image.height} pixels", expected=f"at most {MOST_PIXELS}"
                    )
                turned = _eight_bits(ImageOps.exif_transpose(image)).convert(MODES[volume.channels])
        if turned.size != (width, height):
            turned = turned.resize((width, height), Image.Resampling.BILINEAR)
    except FileNotFoundError:
        raise DataError(f"image {path}", got="no such file", expected="an image file") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(f"image {path}", got=str(error), expected=f"at most {MOST_PIXELS} pixels") from None
    except Exception as error:  # decoders raise anything on a damaged file
        reason = str(error) or type(error).__name__
        raise DataError(
            f"image {path} cannot be read",
            got=reason,
            expected=f"one of {', '.join(FORMATS)}",
            fix="Repair or remove it.",
        ) from error
    pixels = torch.from_numpy(np.array(turned, dtype=np.uint8))
    return pixels.reshape(height, width, volume.channels).permute(2, 0, 1).contiguous()


def read_images(paths: Sequence[str | Path], volume: Volume) -> Tensor:
    """Images as uint8 (N, channels, height, width), decoded side by side; the first bad one raises DataError."""
    check_volume(volume)
    images = torch.empty(len(paths), volume.channels, *volume.size, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:
        try:
            for number, image in enumerate(pool.map(lambda path: read_image(path, volume), paths)):
                images[number] = image
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return images


def write_image(path: Path, pixels: Tensor) -> None:
    """uint8 (channels, height, width) with 1 or 3 channels as a PNG file."""
    array = pixels.permute(1, 2, 0).numpy()
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path, format="PNG")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Sixteen-bit grey images scaled; pillow would cut their values off at 255."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8))
