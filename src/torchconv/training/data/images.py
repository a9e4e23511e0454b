"""Image files to bytes of one size. Files are hostile: known formats only, and pixels are counted before decoding."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import TypeAlias, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from ...errors import DataError
from ...network.operations import Volume

MANY = 2000  # images; fewer are done before a bar could be read


@contextmanager
def bar(what: str, total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how many are done; the bar is written to standard error, and leaves nothing."""
    if not wanted or total < MANY:
        yield lambda count: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as shown:
        task = shown.add_task(what, total=total)
        yield lambda count: shown.advance(task, count)


Encoded: TypeAlias = "str | Path | bytes"
Named: TypeAlias = "tuple[str, Encoded]"  # a name for errors, and the file
Taken = TypeVar("Taken")
Made = TypeVar("Made")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
MOST_PIXELS = 64 * 2**20
MODES = {1: "L", 3: "RGB"}
WINDOW, BLOCK = 1024, 16


def check_volume(volume: Volume) -> None:
    """Raise DataError unless images can be brought to this volume."""
    if len(volume.size) != 2 or volume.channels not in MODES:
        expected = "height x width x channels with 1 channel (grey) or 3 (colour)"
        fix = "Write INPUT[32x32x3], or INPUT alone."
        raise DataError("the INPUT of a network for images", got=volume, expected=expected, fix=fix)


def read_images(paths: Sequence[str | Path], volume: Volume, progress: bool = False) -> Tensor:
    """Images as uint8 (N, channels, height, width): turned as their EXIF data say, first frame, stretched to the size.

    Raises DataError for the first file that is missing, no image, damaged, or of more than 64 Mi pixels.
    """
    return decode(((f"image {path}", path) for path in paths), len(paths), volume, progress)


def decode(named: Iterable[Named], count: int, volume: Volume, progress: bool = False) -> Tensor:
    """`count` images, each a name for errors and a path or the bytes of a file, as uint8 (N, channels, height, width).

    progress: show a bar on a terminal where there are many.
    """
    check_volume(volume)
    images = torch.empty(count, volume.channels, *volume.size, dtype=torch.uint8)
    found = each(named, count, lambda one: pixels(one[0], one[1], volume.channels, volume.size), progress)
    for number, image in enumerate(found):
        images[number] = torch.from_numpy(image)
    return images


def each(
    named: Iterable[Taken], count: int, read: Callable[[Taken], Made], progress: bool = False, what: str = "images"
) -> Iterator[Made]:
    """What `read` makes of each of `count` files, in order and in threads.

    They are taken from the iterable a thousand at a time, so that their files need not all be in memory.
    """
    # pillow warns of sizes, which are refused, and of damaged tags; threads share the filters
    with quiet(), ThreadPoolExecutor() as pool, bar(f"reading {what}", count, progress) as advance:
        try:
            left = iter(named)
            while taken := list(islice(left, WINDOW)):
                # one image at a time would cost more for the handing over than a small one takes to decode
                blocks = [taken[start : start + BLOCK] for start in range(0, len(taken), BLOCK)]
                for block in pool.map(lambda block: [read(one) for one in block], blocks):
                    yield from block
                advance(len(taken))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def pixels(where: str, file: Encoded, channels: int, size: Sequence[int] | None = None) -> np.ndarray:
    """One image as uint8 (channels, height, width), of its own size or stretched to another one."""
    with opened(where, file) as image:
        wide = image.format in ("PNG", "PPM")  # whose mode I comes from files of sixteen bits
        turned = _on_white(_eight_bits(ImageOps.exif_transpose(image), wide)).convert(MODES[channels])
        if size is not None and turned.size != (size[1], size[0]):
            turned = turned.resize((size[1], size[0]), Image.Resampling.BILINEAR)
        found = np.array(turned, dtype=np.uint8)  # a copy, as torch wants to write
    return found.reshape(*found.shape[:2], channels).transpose(2, 0, 1)


@contextmanager
def opened(where: str, file: Encoded, formats: tuple[str, ...] = FORMATS) -> Iterator[Image.Image]:
    """An image file, whose pixels are counted before it is decoded; what is raised inside becomes DataError."""
    try:
        with Image.open(file if isinstance(file, str | Path) else BytesIO(file), formats=formats) as image:
            if image.width * image.height > MOST_PIXELS:
                got = f"{image.width}x{image.height} pixels"
                raise DataError(where, got=got, expected=f"at most {MOST_PIXELS}")
            yield image
    except FileNotFoundError:
        raise DataError(where, got="no such file", expected="an image file") from None
    except DataError:
        raise
    except Image.DecompressionBombError as error:
        raise DataError(where, got=str(error), expected=f"at most {MOST_PIXELS} pixels") from None
    except Exception as error:  # decoders raise anything on a damaged file
        reason = (str(error) or type(error).__name__).partition(" <_io.BytesIO")[0]
        expected = f"one of {', '.join(formats)}"
        raise DataError(f"{where} cannot be read", got=reason, expected=expected, fix="Repair or remove it.") from error


def write_image(path: Path, pixels: Tensor) -> None:
    """uint8 (channels, height, width) with 1 or 3 channels as a PNG file."""
    array = pixels.permute(1, 2, 0).numpy()
    Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array).save(path, format="PNG")


def _on_white(image: Image.Image) -> Image.Image:
    """Laid on white, where it is transparent; pillow would show the colours that lie hidden there."""
    if image.mode not in ("LA", "PA", "La", "RGBA", "RGBa") and "transparency" not in image.info:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))


def _eight_bits(image: Image.Image, wide: bool) -> Image.Image:
    """Sixteen-bit grey images scaled, whose values pillow would cut off at 255; `wide`: mode I has sixteen bits."""
    if image.mode != "F" and not image.mode.startswith("I"):
        return image
    values = np.asarray(image).astype(np.float64)
    least, most = values.min(), values.max()
    if image.mode == "F" or least < 0 or most > 65535:
        got = "floating-point numbers" if image.mode == "F" else f"values from {least:.0f} to {most:.0f}"
        raise ValueError(f"{got} in place of 8 or 16 bits")
    if image.mode == "I" and not wide and most <= 255:
        return Image.fromarray(values.astype(np.uint8))
    return Image.fromarray((values / 257).round().astype(np.uint8))


@contextmanager
def quiet(level: int = logging.NOTSET, *names: str) -> Iterator[None]:
    """Without warnings, and without what loggers of these names say below a level."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(level)
        try:
            yield
        finally:
            for logger, before in zip(loggers, levels, strict=True):
                logger.setLevel(before)
