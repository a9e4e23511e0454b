"""How folders of images and masks are laid out: two folders, beside the splits or inside them, or endings of names."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ...errors import DataError
from ...text import some
from .folder import SPLIT_FOLDERS, readable, subfolders
from .images import SUFFIXES
from .masks import MaskSource, Pair

IMAGES = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
MASKS = (
    "masks",
    "mask",
    "labels",
    "label",
    "annotations",
    "annotation",
    "segmentationclass",
    "gt",
    "gtfine",
    "targets",
)
ENDINGS = (
    "_mask",
    "-mask",
    "_masks",
    "_label",
    "_labels",
    "_seg",
    "_segmentation",
    "_gt",
    "_l",
    "_gtfine_labeltrainids",
)
ANNOTATED = "annot"  # train and trainannot, as the CamVid of SegNet is laid out
DROPPED = ("_leftimg8bit", "_image", "-image", "_img")

Folders = dict[str, tuple[Path, Path]]  # of each split: where its images and its masks are


def mask_folders(root: Path) -> Folders:
    """Where a folder has images and masks; nothing where it is laid out in another way.

    images/ and masks/, which may hold train/ and the like; train/ and the like which hold images/ and masks/; train/
    and trainannot/; or img.png and img_mask.png side by side, in the folder or in those of the splits.
    """
    named = {folder.name.lower(): folder for folder in subfolders(root)}
    if (pair := _pair(named)) is not None:
        inside = [_splits(folder) for folder in pair]
        if "train" not in inside[0]:
            return {"train": pair}
        return {split: (path, inside[1].get(split, pair[1] / path.name)) for split, path in inside[0].items()}
    beside = {split: (folder, named[name + ANNOTATED]) for name, folder in named.items()
              if (split := SPLIT_FOLDERS.get(name)) and name + ANNOTATED in named}  # fmt: skip
    if "train" in beside:
        return beside
    splits = _splits(root)
    within = {split: _pair({one.name.lower(): one for one in subfolders(folder)}) for split, folder in splits.items()}
    if within.get("train"):
        return {split: pair for split, pair in within.items() if pair is not None}
    for found in (splits, {"train": root}):
        if "train" in found and any(_is_mask(path) for path in _files(found["train"])):
            return {split: (folder, folder) for split, folder in found.items()}
    return {}


def _pair(named: dict[str, Path]) -> tuple[Path, Path] | None:
    images, masks = ([named[name] for name in names if name in named] for names in (IMAGES, MASKS))
    return (images[0], masks[0]) if len(images) == 1 == len(masks) else None


def _splits(root: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in subfolders(root):
        found.setdefault(SPLIT_FOLDERS.get(folder.name.lower(), ""), folder)
    found.pop("", None)
    return found


def _files(folder: Path) -> list[Path]:
    return sorted(
        p for p in folder.glob("*") if p.suffix.lower() in SUFFIXES and not p.name.startswith(".") and p.is_file()
    )


def _is_mask(path: Path) -> bool:
    """Whether a file is the mask of another one beside it, by the ending of its name."""
    stem = path.stem.lower()
    ending = next((one for one in ENDINGS if stem.endswith(one)), None)
    return ending is not None and any((path.with_name(path.stem[: -len(ending)] + s)).is_file() for s in SUFFIXES)


class MaskFolder(MaskSource):
    """A folder of images and masks, paired by their names without endings such as _mask.

    Raises DataError for an image without a mask, or a mask without an image.
    """

    def __init__(self, path: str | Path, folders: Folders, ignore: str = "") -> None:
        self._root = Path(path).resolve()
        name = readable(str(self._root), self._root)
        given = {split: _paired(*(self._root / one.resolve() for one in pair)) for split, pair in folders.items()}
        self._pairs = given
        super().__init__(name, given, self._root, ignore)

    def encoded(self, items: Sequence[tuple[Path, Path]]) -> Iterator[Pair]:
        for image, mask in items:
            yield (f"image {image}", image), (f"mask {mask}", mask)

    def digest(self) -> str:
        """Of the relative paths and the sizes of files."""
        found = hashlib.sha256()
        for path in sorted(path for pairs in self._pairs.values() for pair in pairs for path in pair):
            line = f"{path.stat().st_size} {path.relative_to(self._root).as_posix()}\0"
            found.update(line.encode("utf-8", errors="surrogateescape"))
        return found.hexdigest()


def _paired(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    """Each image with its mask, in the order of the images' names; folders inside may be laid out alike."""
    if images == masks:
        found = _files(images)
        shown, hidden = [one for one in found if not _is_mask(one)], [one for one in found if _is_mask(one)]
    else:
        shown, hidden = ([one for one in sorted(folder.rglob("*")) if one.suffix.lower() in SUFFIXES and one.is_file()]
                         for folder in (images, masks))  # fmt: skip
    places = {_key(path, masks, ENDINGS): path for path in hidden}
    pairs = [(path, places.pop(_key(path, images, DROPPED), None)) for path in shown]
    alone = [path for path, mask in pairs if mask is None]
    if alone or places:
        kind, first = ("image", alone[0]) if alone else ("mask", next(iter(places.values())))
        other = "mask" if alone else "image"
        count = len(alone) or len(places)
        got = f"no {other}" + (f", as {count - 1} other {kind}s have none" if count > 1 else "")
        expected = (
            f"a file of the same name in {masks if alone else images}, in one of {some([s[1:] for s in SUFFIXES])}"
        )
        raise DataError(f"{kind} {first}", got=got, expected=expected, fix=f"Add the {other}, or remove the {kind}.")
    return [(image, mask) for image, mask in pairs if mask is not None]


def _key(path: Path, folder: Path, endings: Sequence[str]) -> tuple[str, ...]:
    stem = path.stem.lower()
    ending = max((one for one in endings if stem.endswith(one)), key=len, default="")
    return *path.relative_to(folder).parts[:-1], stem[: len(stem) - len(ending)]
