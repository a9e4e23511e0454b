"""Files of images that are read in parts: .npy, zarr, TIFF of any size, and what Pillow decodes as a whole."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...text import install, megabytes

BLOCK = 2**28  # bytes of one compressed block of a file, which is decoded for whatever is read of it
TIFF = (".tif", ".tiff", ".svs", ".ndpi", ".btf")


def open_image(path: Path) -> tuple[Any, str]:
    """An array that reads what is asked of it, and whether its channels come first or last.

    Raises DataError naming the file that is missing, damaged, or such that parts of it cannot be read.
    """
    if not path.exists():
        raise DataError(f"image {path}", got="no such file")
    try:
        if path.suffix == ".npy":
            return np.load(path, mmap_mode="r"), "first"
        if path.suffix == ".zarr":
            return _zarr(path), "first"
        if path.suffix.lower() in TIFF:
            return _tiff(path)
        return _whole(path), "last"
    except (DataError, MemoryError):
        raise
    except ModuleNotFoundError as error:
        fix = install("tiff" if path.suffix.lower() in (*TIFF, ".zarr") else "train")
        raise DataError(f"image {path}", got=f"no package {error.name} to read it with", fix=fix) from None
    except Exception as error:
        if type(error).__name__ == "DecompressionBombError":
            got, fix = str(error).partition(",")[0], "Write it as TIFF or .npy, which are read in parts."
            raise DataError(f"image {path} is too large to be decoded as a whole", got=got, fix=fix) from None
        # decoders raise anything on a damaged file
        raise DataError(f"image {path} cannot be read", got=str(error) or type(error).__name__) from error


def _zarr(path: Path) -> Any:
    import zarr

    found = zarr.open(path, mode="r")
    if not hasattr(found, "shape"):
        raise DataError(f"image {path}", got="a group of arrays", expected="one array", fix="Give the path of one.")
    return found


def _tiff(path: Path) -> tuple[Any, str]:
    """The first series of a TIFF file: mapped into memory where it is not compressed, else block by block."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page, axes = series.keyframe, series.axes
        block = int(np.prod(page.chunks, dtype=np.int64)) * page.dtype.itemsize  # pyright: ignore
        mapped = page.is_memmappable and len(series.pages) == 1
    own = "last" if re.fullmatch("YX[SC]", axes) else "first"
    if mapped:
        return tifffile.memmap(path, mode="r", series=0), own
    if block > BLOCK:
        got, expected = f"one compressed block of {megabytes(block)}", f"blocks of at most {megabytes(BLOCK)}"
        fix = "Write it in tiles: tifffile.imwrite(..., tile=(512, 512))."
        raise DataError(f"image {path} cannot be read in parts", got=got, expected=expected, fix=fix)
    import zarr

    found = zarr.open(tifffile.imread(path, aszarr=True, series=0, level=0), mode="r")
    return found, own


def _whole(path: Path) -> np.ndarray:
    """Decoded at once, turned as its camera was: (height, width, channels), or (height, width) for grey images."""
    from PIL import Image, ImageOps

    with warnings.catch_warnings():  # pillow warns of sizes, and raises DecompressionBombError for larger ones
        warnings.simplefilter("ignore")
        with Image.open(path) as image:
            turned = ImageOps.exif_transpose(image)
            return np.asarray(turned.convert("RGB") if turned.mode in ("P", "CMYK", "YCbCr") else turned)
