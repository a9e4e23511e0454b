"""What the values or colours of masks mean: names of classes, and which pixels are of no class."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError, SettingError
from ...segmentation.losses import IGNORED
from ...text import did_you_mean, some
from .known_labels import KNOWN

Colour = tuple[int, int, int]
FILES = (
    *("classes.txt", "classes.csv", "class_dict.csv", "label_colors.txt", "labels.txt", "palette.txt"),
    "id2label.json",
)
VOID = ("void", "unlabelled", "unlabeled", "ignore", "ignored", "unknown")
MOST_CLASSES = 255
EXPECTED = "a line for each class: its name, and before or after it the value or the three numbers of the colour"


@dataclass(frozen=True)
class LabelEntry:
    """One label of masks: its value, what it is called, and its colour; in masks of colours values are numbered on."""

    value: int
    name: str
    colour: Colour | None = None


@dataclass(frozen=True)
class PixelLabels:
    """The classes of pixels in their order, and which labels are of no class.

    values: of each class in a mask. colours: of each class in pictures. ignored: labels of no class, with their
    colours. coloured: whether masks hold the colours in place of the values. known: where the names are from; numbered:
    there are none but the values.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    colours: tuple[Colour, ...]
    ignored: tuple[LabelEntry, ...] = ()
    coloured: bool = False
    known: str = ""
    numbered: bool = False

    @classmethod
    def of(cls, entries: Sequence[LabelEntry], ignore: str = "", **more: Any) -> PixelLabels:
        """From all labels; ignore: those of no class, by names or values with commas between, or "none".

        Where nothing is said those called void, unlabelled, ignore or unknown are of no class, and 255 if it has no
        name. Raises SettingError for a label that there is not.
        """
        void = _ignored(entries, ignore)
        kept = [entry for entry in entries if entry not in void]
        colours = [entry.colour or distinct(number) for number, entry in enumerate(kept)]
        if all(entry.value != IGNORED for entry in entries):
            void = [*void, LabelEntry(IGNORED, "", (0, 0, 0))]
        names, values = tuple(entry.name for entry in kept), tuple(entry.value for entry in kept)
        return cls(names, values, tuple(colours), tuple(void), **more)

    @classmethod
    def from_dict(cls, names: Sequence[str], found: Mapping[str, Any]) -> PixelLabels:
        """What `to_dict` wrote; raises TypeError, ValueError or LookupError for what is none of its."""
        ignored = tuple(
            LabelEntry(int(one["value"]), str(one["name"]), _triple(one["colour"])) for one in found["ignored"]
        )
        values, colours = tuple(map(int, found["values"])), tuple(_triple(one) or (0, 0, 0) for one in found["colours"])
        if not len(names) == len(values) == len(colours) or any(not 0 <= value < 256 for value in values):
            raise ValueError(f"labels of {len(names)} classes")
        return cls(tuple(names), values, colours, ignored, bool(found["coloured"]), str(found["known"]))

    def to_dict(self) -> dict[str, Any]:
        """For JSON, without the names."""
        return {name: value for name, value in asdict(self).items() if name not in ("names", "numbered")}

    @cached_property
    def table(self) -> np.ndarray:
        """The class of each value, int16 (256,): IGNORED of those of no class, -1 of those that there are not."""
        found = np.full(256, -1, dtype=np.int16)
        found[[entry.value for entry in self.ignored]] = IGNORED
        found[list(self.values)] = np.arange(len(self.values))
        return found

    def classes_of(self, values: np.ndarray, where: str) -> np.ndarray:
        """The class of each pixel, uint8; raises DataError for a label that there is not."""
        found = self.table[values]
        if (found < 0).any():
            row, column = np.argwhere(found < 0)[0].tolist()
            known = f"one of {some([str(value) for value in sorted((*self.values, *self._voids))], 20)}"
            got, fix = (
                f"label {values[row, column]} at row {row}, column {column}",
                "Correct the mask, or name the label.",
            )
            raise DataError(where, got=got, expected=known, fix=fix)
        return found.astype(np.uint8)

    @property
    def _voids(self) -> list[int]:
        return [entry.value for entry in self.ignored]

    @property
    def palette(self) -> list[int]:
        """768 numbers, red, green and blue of every value, as PNG has them."""
        found = [0] * 768
        for entry in self.ignored:
            found[3 * entry.value : 3 * entry.value + 3] = entry.colour or (0, 0, 0)
        for value, colour in zip(self.values, self.colours, strict=True):
            found[3 * value : 3 * value + 3] = colour
        return found


def _triple(found: Any) -> Colour | None:
    if found is None:
        return None
    red, green, blue = (int(value) for value in found)
    return red, green, blue


def _ignored(entries: Sequence[LabelEntry], ignore: str) -> list[LabelEntry]:
    """The labels of no class."""
    if ignore == "none":
        return []
    if not ignore:
        return [entry for entry in entries if entry.name.lower() in VOID]
    found = []
    for word in (part.strip() for part in str(ignore).split(",")):
        entry = next((entry for entry in entries if word in (entry.name, str(entry.value))), None)
        if entry is None and word != str(IGNORED):
            names = [entry.name for entry in entries]
            expected = f"labels of the masks, by name or value: {some(names, 20)}"
            raise SettingError("ignore", got=word, expected=expected, fix=did_you_mean(word, names))
        found += [entry] if entry else []
    return found


def labels_of(
    place: str,
    folder: Path | None,
    values: Iterable[int],
    palette: Sequence[Colour],
    ignore: str,
    coloured: bool = False,
) -> PixelLabels:
    """What the values of masks mean: by a file beside them, by what is known of the data's name, or by the numbers.

    place: the name of the data. values: all that occur. palette: colours of values. coloured: masks of colours.
    """
    every = sorted(set(values))
    seen = every if every == [0, IGNORED] else [value for value in every if value != IGNORED]  # of two, 255 is a class
    more: dict[str, Any] = {"coloured": coloured}
    known = next((one for one in KNOWN if re.search(one.pattern, place.lower()) and len(seen) > 1), None)
    if folder is not None and (found := named_labels(folder)) is not None:
        more["known"], entries = found[0].name, found[1]
    elif known is not None and not coloured and seen[-1] < len(known.names):
        more["known"] = known.title
        pairs = enumerate(zip(known.names, known.colours, strict=True))
        entries = [LabelEntry(value, name, colour) for value, (name, colour) in pairs]
    else:
        more["numbered"] = True
        colours = [*palette, *[None] * 256]
        entries = [LabelEntry(value, str(value), colours[value]) for value in seen]
    labels = PixelLabels.of(entries, ignore, **more)
    if len(labels.names) < 2:
        got = f"{len(labels.names)} class{'es' * (len(labels.names) != 1)} ({some(labels.names)})"
        raise DataError(f"masks of {place}", got=got, expected="at least two classes", fix="See docs/data.md.")
    return labels


def named_labels(folder: Path) -> tuple[Path, list[LabelEntry]] | None:
    """The file that names the labels of the masks in a folder, and what it says; None where there is none."""
    path = next((folder / name for name in FILES if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        text = path.read_bytes()[: 2**20].decode("utf-8-sig")
        entries = _of_json(text) if path.suffix == ".json" else _of_lines(text)
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        reason = str(error).partition("\n")[0][:100]
        raise DataError(f"{path} cannot be read", got=reason, expected=EXPECTED) from None
    values, names = [entry.value for entry in entries], [entry.name for entry in entries]
    good = 2 <= len(entries) <= 256 and all(0 <= value < 256 for value in values)
    if not good or len(set(values)) < len(values) or len(set(names)) < len(names):
        got = f"{len(entries)} labels with {len(set(names))} names and {len(set(values))} values"
        raise DataError(f"{path}", got=got, expected="2 to 256 labels, each of its own name and value from 0 to 255")
    return path, entries


def _of_json(text: str) -> list[LabelEntry]:
    return [LabelEntry(int(value), str(name)) for value, name in json.loads(text).items()]


def _of_lines(text: str) -> list[LabelEntry]:
    """`name`, `value name`, `r g b name`, `name r g b` or `value name r g b`, with spaces, tabs or commas between."""
    found: list[LabelEntry] = []
    for line in text.splitlines():
        parts = [part for part in re.split(r"[,;\t]\s*|\s+", line.strip()) if part]
        if not parts or parts[0].startswith("#") or {"r", "g", "b"} <= {part.lower() for part in parts}:
            continue
        words = [number for number, part in enumerate(parts) if not part.isdigit()]
        if not words:
            raise ValueError(f"{line[:40]!r} without a name")
        name = " ".join(parts[words[0] : words[-1] + 1])
        before, after = ([int(part) for part in side] for side in (parts[: words[0]], parts[words[-1] + 1 :]))
        colour = before if len(before) == 3 else after if len(after) == 3 else None
        if len(before) not in (0, 1, 3) or len(after) not in (0, 3) or max([0, *(colour or ())]) > 255:
            raise ValueError(f"{line[:40]!r}")
        found.append(LabelEntry(before[0] if len(before) == 1 else len(found), name, _triple(colour)))
    return found


def distinct(number: int) -> Colour:
    """The colour of a class that has none: bits of its number spread over three bytes, as Pascal VOC has them.

    >>> [distinct(number) for number in range(3)]
    [(128, 0, 0), (0, 128, 0), (128, 128, 0)]
    """
    value, found = number + 1, [0, 0, 0]
    for bit in range(8):
        for channel in range(3):
            found[channel] |= (value >> (3 * bit + channel) & 1) << (7 - bit)
    return found[0], found[1], found[2]
