"""Labels of the pixels of image files, written as label images with the palette, overlays, and arrays."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ...errors import DataError, SettingError, ShapeError
from ...text import write_atomically
from ..data import images
from ..data.labels import PixelLabels
from . import Answering, HeadsAndRows
from .large_images import LARGE, counts, in_tiles, likeliest, pixel_count, write_large
from .overlays import overlay

MOST_CLASSES_SHOWN = 4


@dataclass(frozen=True)
class SegmentPrediction:
    """The classes of the pixels of one image: uint8 (height, width), numbers of the run's classes.

    shares: of the pixels, of each class that has any, the largest first. files: what was written, by its kind.
    """

    image: str
    classes: Tensor
    shares: tuple[tuple[str, float], ...]
    files: dict[str, str] = field(default_factory=dict)

    @property
    def table(self) -> HeadsAndRows:
        """One row: the largest shares, and the label image."""
        shown = ", ".join(f"{name} {share:.1%}" for name, share in self.shares[:MOST_CLASSES_SHOWN])
        more = len(self.shares) - MOST_CLASSES_SHOWN
        height, width = self.classes.shape
        row = (self.image, f"{width}x{height}", shown + (f", {more} more" if more > 0 else ""))
        return ("image", "pixels", "classes", "labels"), [(*row, self.files.get("labels", ""))]

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without the pixels, which are in the files."""
        height, width = self.classes.shape
        shares = [{"class": name, "share": share} for name, share in self.shares]
        return {"image": self.image, "width": width, "height": height, "classes": shares, "files": self.files}


def predictions(
    paths: Sequence[str | Path],
    channels: int,
    answered: Answering,
    labels: PixelLabels,
    out: str | Path | None = None,
    probabilities: bool = False,
    **tiles: Any,
) -> list[SegmentPrediction]:
    """Label image files, one after another; out: the folder for what is written, nothing without it.

    answered: probabilities (1, classes, height, width) of each of some stored images. tiles: tile and memory, where
    images are to go through the network so; large ones do by themselves. Raises DataError for an image that cannot be
    read, or what cannot be written; files are there whole or not at all.
    """
    if probabilities and out is None:
        raise SettingError("probabilities", got=True, expected="a folder to write them to", fix="Give out=.")
    stems = [Path(path).stem for path in paths]
    if out is not None and len(set(stems)) < len(stems):
        twice = next(stem for stem in stems if stems.count(stem) > 1)
        fix = "Predict them one after another, into folders of their own."
        raise DataError(
            f"images called {twice}", got=f"{stems.count(twice)} of them", expected="different names", fix=fix
        )
    for path in paths:  # a missing one is known before an hour of work
        if not Path(path).exists():
            raise DataError(f"image {path}", got="no such file", expected="an image file")
    folder = None if out is None else Path(out)
    return [_predicted(Path(path), channels, answered, labels, folder, probabilities, tiles) for path in paths]


def _predicted(
    path: Path,
    channels: int,
    answered: Answering,
    labels: PixelLabels,
    folder: Path | None,
    probabilities: bool,
    tiles: dict[str, Any],
) -> SegmentPrediction:
    pixels, files = pixel_count(path), {}
    image = chances = None
    if pixels <= images.MOST_PIXELS:
        image = torch.from_numpy(np.ascontiguousarray(images.pixels(f"image {path}", path, channels)))
    large = pixels > LARGE and not answered.mirrors
    if image is None or large or any(value is not None for value in tiles.values()):
        place = None if folder is None else _made(folder) / f"{path.stem}{'' if probabilities else '_classes'}.npy"
        found = in_tiles(answered.module(), path if image is None else image, channels, place, probabilities, **tiles)
        classes = torch.from_numpy(likeliest(found) if probabilities else np.array(found))
        if probabilities:
            files["probabilities"] = str(place)
        elif place is not None:
            place.unlink()
    else:
        assert image is not None
        try:
            (answer,) = answered([image])
        except ShapeError as error:
            raise DataError(f"image {path}", got=error.got, expected=error.expected, fix=error.fix) from None
        classes, chances = answer[0].argmax(0).to(torch.uint8), answer[0] if probabilities else None
    if folder is not None and image is not None:
        files |= written(folder, path.stem, image, chances, classes, labels)
    elif folder is not None:
        files["labels"] = str(folder / f"{path.stem}_labels.tif")
        write_large(folder / f"{path.stem}_labels.tif", classes.numpy(), labels)
    number = counts(classes.numpy(), len(labels.names))
    shares = [(name, count / classes.numel()) for name, count in zip(labels.names, number, strict=True) if count]
    return SegmentPrediction(str(path), classes, tuple(sorted(shares, key=lambda one: -one[1])), files)


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"predictions in {folder} cannot be written", got=error.strerror) from None
    return folder


def written(
    folder: Path, stem: str, image: Tensor, probabilities: Tensor | None, classes: Tensor, labels: PixelLabels
) -> dict[str, str]:
    """Write what a network says of one image; gives the names of the files by their kinds."""
    contents = {"labels": label_image(classes, labels), "overlay": png(overlay(image, classes, labels))}
    if probabilities is not None:
        array = io.BytesIO()
        np.save(array, probabilities.float().numpy())
        contents["probabilities"] = array.getvalue()
    names = {"labels": f"{stem}_labels.png", "overlay": f"{stem}_overlay.png", "probabilities": f"{stem}.npy"}
    try:
        _made(folder)
        for kind, content in contents.items():
            write_atomically(folder / names[kind], content)
    except OSError as error:
        raise DataError(f"predictions in {folder} cannot be written", got=error.strerror) from None
    return {kind: str(folder / names[kind]) for kind in contents}


def label_image(classes: Tensor, labels: PixelLabels) -> bytes:
    """A PNG file whose values are those that the data's masks have for the classes, with the colours of all labels."""
    values = np.array(labels.values, dtype=np.uint8)[classes.numpy()]
    image = Image.fromarray(values, mode="P")
    image.putpalette(labels.palette)
    return _encoded(image)


def png(pixels: Tensor) -> bytes:
    """uint8 (3, height, width) as a PNG file."""
    return _encoded(Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy()))


def _encoded(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, format="PNG")
    return content.getvalue()
