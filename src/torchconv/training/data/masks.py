"""Images with a mask each, whose values are the classes of pixels: how they are read, and what all layouts share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from ...errors import DataError
from ...network.operations import Volume
from . import images
from .images import Named
from .labels import Colour, labels_of, named_labels
from .parts import MaskedSamples, Source, Split

Pair: TypeAlias = "tuple[Named, Named]"  # an image and its mask
LOSSLESS = ("PNG", "BMP", "GIF", "TIFF", "PPM")  # what lossy formats make of labels are other labels
WHOLE = ("1", "L", "P", "LA")
FIX = "Write masks as PNG, with one number from 0 to 255 for each pixel."


def mask_values(where: str, file: images.Encoded, colours: Mapping[Colour, int] | None = None) -> np.ndarray:
    """The values of a mask, uint8 (height, width): of palettes the numbers, not the colours.

    colours: the value of each colour, for masks that hold colours. Raises DataError for what is no mask.
    """
    with images.opened(where, file, LOSSLESS) as image:
        if colours is not None:
            return _by_colour(where, np.asarray(image.convert("RGB")), colours)
        if image.mode in WHOLE:
            found = np.asarray(image)
            return (found[..., 0] if image.mode == "LA" else found).astype(np.uint8)
        found = np.asarray(image)
    if found.ndim == 3 and found.shape[2] >= 3 and (found[..., :1] == found[..., :3]).all():
        return found[..., 0].astype(np.uint8)
    if found.ndim == 2 and found.dtype.kind in "iu" and found.size and found.min() >= 0 and found.max() < 256:
        return found.astype(np.uint8)
    if found.ndim == 3:
        fix = "Name the classes of the colours in classes.txt beside the data, a line `red green blue name` each."
        raise DataError(where, got="colours", expected="numbers of classes, or a table of colours", fix=fix)
    raise DataError(where, got=f"values {found.min()} to {found.max()}", expected="0 to 255", fix=FIX)


def _by_colour(where: str, pixels: np.ndarray, colours: Mapping[Colour, int]) -> np.ndarray:
    packed = pixels.astype(np.int32) @ np.array([65536, 256, 1], dtype=np.int32)
    keys = np.array([(red << 16) + (green << 8) + blue for red, green, blue in colours])
    order = np.argsort(keys)
    place = np.searchsorted(keys[order], packed).clip(max=len(keys) - 1)
    found = order[place]
    if (wrong := keys[found] != packed).any():
        row, column = np.argwhere(wrong)[0].tolist()
        got = f"colour {' '.join(map(str, pixels[row, column].tolist()))} at row {row}, column {column}"
        raise DataError(
            f"mask {where}", got=got, expected="the colours that are named", fix="Name it, or correct the mask."
        )
    return np.array(list(colours.values()), dtype=np.uint8)[found]


class MaskSource(Source):
    """Images of any sizes, each with a mask of its size. Items are whatever `encoded` makes files of.

    What is not split is split by the seed: a tenth for validation, at least one image, a tenth for the test.
    Raises DataError for masks that say no classes, or an image and a mask that do not go together.
    """

    kind = "masks"
    _coloured: Mapping[Colour, int] | None = None

    def __init__(self, name: str, given: Mapping[str, Sequence[Any]], folder: Path | None, ignore: str = "") -> None:
        self.name, self._given = name, {split: Split(tuple(items), (0,) * len(items)) for split, items in given.items()}
        least = 1 if "validation" in given else 2
        if (count := len(self._given.get("train", ()))) < least:
            expected = f"at least {least}, each with a mask of the same name"
            raise DataError(f"data {name}", got=f"{count} images to train on", expected=expected)
        image, mask = next(self.encoded(self._given["train"].items[:1]))
        with images.opened(*image) as first:
            self.volume = Volume(1 if first.mode in ("1", "L", "I", "I;16") else 3, (first.height, first.width))
        palette, found = _palette(*mask), None if folder is None else named_labels(folder)
        if found is not None and palette is None and all(entry.colour for entry in found[1]):
            self._coloured = {entry.colour: entry.value for entry in found[1] if entry.colour}
        values = () if found is not None else self._seen()
        self.labels = labels_of(name, folder, values, palette or (), ignore, self._coloured is not None)
        self.classes, self.numbered = self.labels.names, self.labels.numbered

    @abstractmethod
    def encoded(self, items: Sequence[Any]) -> Iterator[Pair]:
        """The files of items, in their order."""

    def place(self, item: Any) -> str:
        (image, _) = next(self.encoded((item,)))
        return image[0]

    def _seen(self) -> Sequence[int]:
        """All values of all masks."""
        seen = np.zeros(256, dtype=bool)
        for part in self._given.values():
            masks = (mask for _, mask in self.encoded(part.items))
            for values in images.each(masks, len(part), lambda one: np.unique(mask_values(*one)), what="masks"):
                seen[values] = True
        return np.flatnonzero(seen).tolist()

    def read(self, part: Split, volume: Volume, progress: bool = False) -> MaskedSamples:
        labels, colours = self.labels, self._coloured
        assert labels is not None

        def pair(files: Pair) -> tuple[np.ndarray, np.ndarray]:
            (shown, image), (where, mask) = files
            found, values = images.pixels(shown, image, volume.channels), mask_values(where, mask, colours)
            if values.shape != found.shape[1:]:
                got = f"{values.shape[1]}x{values.shape[0]} pixels"
                expected = f"the {found.shape[2]}x{found.shape[1]} of its image, {shown}"
                raise DataError(where, got=got, expected=expected, fix="Make the mask anew, or remove both.")
            return found, labels.classes_of(values, where)

        pairs = list(images.each(self.encoded(part.items), len(part), pair, progress))
        return MaskedSamples(
            [torch.from_numpy(image) for image, _ in pairs], [torch.from_numpy(mask) for _, mask in pairs]
        )

    def check(self, volume: Volume) -> None:
        if volume.channels not in images.MODES:
            fix = "Write INPUT[128x128x3], or INPUT alone."
            raise DataError("the INPUT of a network for images", got=volume, expected="1 channel or 3", fix=fix)


def _palette(where: str, file: images.Encoded) -> Sequence[Colour] | None:
    """The colours of a mask's values, nothing for grey ones; None where its pixels are colours themselves."""
    with images.opened(where, file, LOSSLESS) as image:
        if image.mode == "P" and (found := image.getpalette("RGB")):
            return [(red, green, blue) for red, green, blue in zip(*[iter(found)] * 3, strict=False)]
        return None if image.mode in ("RGB", "RGBA", "RGBX") else ()
