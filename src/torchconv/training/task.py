"""What a training is to do: data, network and recipe, found anew or read from a run folder; nothing is written here."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch

from .. import __version__
from ..errors import DataError, SettingError, ShapeError, TextError
from ..language.parser import parse
from ..network.graph import Network
from ..network.operations import Volume
from . import recipes
from .augmentation import Augmentation, Scaling
from .data import source as data
from .preflight import check_memory, takes_shrunk
from .processes import Place
from .recipes import Recipe
from .run.run_folder import CONFIG, TEXT, Config, Description

SUFFIXES = (".net", ".txt")


@dataclass(frozen=True)
class Task:
    """All that decides what a training comes to. batches: the images of every split that has any."""

    source: data.Source
    recipe: Recipe
    network: Network
    text: str
    counts: dict[str, int]
    batches: dict[str, data.Batch]
    scaling: Scaling
    place: Place

    @classmethod
    def new(
        cls, name: str, text: str | None, recipe: str, place: Place, settings: Mapping[str, Any], progress: bool = False
    ) -> Task:
        """From what the user says; text: an architecture, or the name of a .net or .txt file that holds one."""
        source = data.source(name)
        found = recipes.named(recipe, source.kind)
        found = found.changed({**settings, "text": found.text if text is None else written(text)})
        network, canonical = _network(found.text, source)
        if found.shrunk_share and "shrunk_share" not in settings and not takes_shrunk(network, found.shrunk_size):
            found = found.changed({"shrunk_share": 0.0})
        parts = source.parts(found.seed)
        if source.kind != "digits" and recipe == "default":
            found = found.fitted(len(parts["train"]), settings)
        return cls._read(source, found, network, canonical, parts, place, progress)

    @classmethod
    def again(cls, found: Description, place: Place, progress: bool = False) -> Task:
        """From a run folder; raises DataError where its data have changed since."""
        settings = {name: value for name, value in found.config.settings.items() if name not in ("devices", "nodes")}
        try:
            recipe = Recipe(found.text.strip(), **settings)
        except TypeError as error:
            reason = str(error).removeprefix("Recipe.__init__() ")
            raise DataError(f"{found.path / CONFIG} is damaged", got=reason, fix="Train again.") from None
        source = data.source(found.config.data)
        network, text = _network(recipe.text, source)
        parts = source.parts(recipe.seed)
        counts = {name: len(part) for name, part in parts.items()}
        if (counts, source.classes, source.digest()) != (found.config.images, found.classes, found.config.files):
            got = counts if counts != found.config.images else "other classes, or other names or sizes of its files"
            fix = "Put the images back, or train anew."
            raise DataError(f"data {source.name} has changed since the training began", got=got, fix=fix)
        if str(network.input) != found.config.input:
            got, expected = f"INPUT {network.input}", f"{found.config.input} as {CONFIG} says"
            raise DataError(str(found.path / TEXT), got=got, expected=expected)
        return cls._read(source, recipe, network, text, parts, place, progress)

    @classmethod
    def _read(
        cls, source: data.Source, recipe: Recipe, network: Network, text: str,
        parts: dict[str, data.Part], place: Place, progress: bool,
    ) -> Task:  # fmt: skip
        place.check(min(recipe.batch_size, len(parts["train"])))
        Augmentation.named(recipe.augmentation)
        if recipe.shrunk_share and not takes_shrunk(network, recipe.shrunk_size):
            expected = "a network for any size, such as one that ends with GLOBALPOOL - FC"
            raise SettingError("shrunk share", got=recipe.shrunk_share, expected=f"0, or {expected}")
        images = sum(len(part) for part in parts.values())
        batch = min(recipe.batch_size, len(parts["train"])) // place.world
        check_memory(network, images, batch, 4 if recipe.precision == "32-true" else 2)
        shown = progress and place.rank == 0
        batches = {name: source.read(part, network.input, shown) for name, part in parts.items() if len(part)}
        counts = {name: len(part) for name, part in parts.items()}
        return cls(source, recipe, network, text, counts, batches, Scaling.of(batches["train"].images), place)

    @property
    def config(self) -> Config:
        """What a run folder says of it."""
        settings = {**asdict(self.recipe), "devices": self.place.devices, "nodes": self.place.nodes}
        settings.pop("text")  # it has a file of its own
        versions = {"torchconv": __version__, "torch": torch.__version__, "lightning": lightning.__version__}
        return Config(
            data=self.source.name,
            data_kind=self.source.kind,
            images=self.counts,
            input=str(self.network.input),
            mean=list(self.scaling.mean),
            std=list(self.scaling.std),
            settings=settings,
            files=self.source.digest(),
            versions={**versions, "python": platform.python_version()},
        )


def written(text: str) -> str:
    """An architecture text, read from the file that it names where it names one; raises TextError."""
    if Path(text).suffix not in SUFFIXES or "\n" in text:
        return text
    try:
        return Path(text).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes that are no UTF-8"
        raise TextError(f"text {text} cannot be read", got=reason, expected="a file with an architecture") from None


def _network(text: str, source: data.Source) -> tuple[Network, str]:
    """The network of a text on this data, and the canonical text."""
    architecture = parse(text)
    volume = architecture.input or source.volume
    source.check(volume)
    network = architecture.network(volume, len(source.classes))
    if network.output != Volume(len(source.classes)):
        if network.output.size:
            got, expected = f"an output of {network.output}", "one row of scores for each image"
            raise ShapeError("training needs a classifier", got=got, expected=expected, fix="End with GLOBALPOOL - FC.")
        raise ShapeError(
            f"the last layer of {architecture}",
            got=f"a volume {network.output}",
            expected=f"{len(source.classes)} scores, one for each class of {source.name}",
            fix=f"End with FC[{len(source.classes)}] or FC, and SOFTMAX if you like.",
        )
    return network, str(architecture)
