"""What a training is to do: data, network and recipe, found anew or read from a run folder; nothing is written here."""

from __future__ import annotations

import platform
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import torch

from .. import __version__
from ..description.axis import plain, positive
from ..errors import DataError, SettingError, TextError
from ..language.parser import parse
from ..network.graph import Network
from ..network.operations import Volume
from . import recipes
from .augmentation import Scaling
from .data.parts import Source, Split, Stored
from .data.source import source as find
from .objectives import Objective
from .preflight import Processes, check_memory, fast_bfloat16, takes_any_size
from .recipes import PROGRESSIVE_SIZE, Recipe
from .run.run_folder import CONFIG, Config, Description, objective

SUFFIXES = (".net", ".txt")
SIZE = re.compile(r"[0-9]{1,6}x[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True)
class Task:
    """All that decides what a training comes to. samples: the images of every split that has any."""

    source: Source
    objective: Objective
    recipe: Recipe
    network: Network
    text: str
    counts: dict[str, int]
    samples: dict[str, Stored]
    scaling: Scaling
    processes: Processes

    @classmethod
    def new(
        cls, name: str, text: str | None, recipe: str, processes: Processes, settings: Mapping[str, Any],
        progress: bool = False,
    ) -> Task:  # fmt: skip
        """From what the user says; text: an architecture, or the name of a .net or .txt file that holds one."""
        source = find(name, str(settings.get("ignore", "")))
        found = recipes.named(recipe, source.kind)
        settings = {**settings}
        size = settings.pop("size", None)
        found = found.changed({**settings, "text": found.text if text is None else written(text)})
        if size is not None:
            found = found.changed({"text": _sized(found.text, size, source)})
        if "crop" not in settings and found.crop and min(source.volume.size) < min(map(int, found.crop.split("x"))):
            found = found.changed({"crop": ""})  # as large as the first image
        network, canonical = _network(found, source)
        if source.kind == "masks" and not any(node.operation.word == "norm" for node in network.nodes):
            found = found.changed({**recipes.WITHOUT_NORM, **settings})
        if found.precision == "auto":
            found = found.changed({"precision": "bf16-mixed" if fast_bfloat16() else "32-true"})
        if "progressive_resizing" not in settings and not takes_any_size(network, PROGRESSIVE_SIZE):
            found = found.changed({"progressive_resizing": 0.0})
        parts = source.parts(found.seed)
        if source.kind != "digits" and recipe == "default":
            found = found.fitted(len(parts["train"]), settings)
        return cls._read(source, found, network, canonical, parts, processes, progress)

    @classmethod
    def again(cls, found: Description, processes: Processes, progress: bool = False) -> Task:
        """From a run folder; raises DataError where its data have changed since."""
        settings = {name: value for name, value in found.config.settings.items() if name not in ("devices", "nodes")}
        try:
            recipe = Recipe(found.text.strip(), **settings)
        except TypeError as error:
            reason = str(error).removeprefix("Recipe.__init__() ")
            raise DataError(f"{found.path / CONFIG} is damaged", got=reason, fix="Train again.") from None
        source = find(found.config.data, recipe.ignore)
        network, text = _network(recipe, source)
        parts = found.parts(source, "the training began", "Put the images back, or train anew.")
        return cls._read(source, recipe, network, text, parts, processes, progress)

    @classmethod
    def _read(
        cls, source: Source, recipe: Recipe, network: Network, text: str,
        parts: dict[str, Split], processes: Processes, progress: bool,
    ) -> Task:  # fmt: skip
        counts = {name: len(part) for name, part in parts.items()}
        processes.check(min(recipe.batch_size, counts["train"]))
        if recipe.progressive_resizing and not takes_any_size(network, PROGRESSIVE_SIZE):
            expected = "0, or a network for any size, such as one that ends with GLOBALPOOL - FC"
            raise SettingError("progressive resizing", got=recipe.progressive_resizing, expected=expected)
        batch = min(recipe.batch_size, counts["train"]) // processes.world
        check_memory(network, sum(counts.values()), batch, 4 if recipe.precision == "32-true" else 2)
        shown = progress and processes.rank == 0
        samples = {name: source.read(part, network.input, shown) for name, part in parts.items() if len(part)}
        scaling = Scaling.of(samples["train"].images)
        learned = _objective(recipe, source)
        learned.check_images(network, source, parts, samples)
        return cls(source, learned, recipe, network, text, counts, samples, scaling, processes)

    @property
    def tested(self) -> str:
        """The split that the best weights are tested on."""
        return "test" if "test" in self.samples else "validation"

    @property
    def config(self) -> Config:
        """What a run folder says of it."""
        settings = {**asdict(self.recipe), "devices": self.processes.devices, "nodes": self.processes.nodes}
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
            labels=None if self.source.labels is None else self.source.labels.to_dict(),
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


def _objective(recipe: Recipe, source: Source) -> Objective:
    return objective(source.classes, source.labels, asdict(recipe))


def _sized(text: str, size: Any, source: Source) -> str:
    """The text with images of this size, as in "64x64", in its INPUT."""
    sizes = tuple(map(int, size.split("x"))) if isinstance(size, str) and SIZE.fullmatch(size) else plain(size)
    if not isinstance(sizes, list | tuple) or len(sizes) != 2:
        raise SettingError("size", got=size, expected="height and width, as in 64x64")
    if source.kind == "masks":
        fix = "Use resolution, or crop, for images with masks."
        raise SettingError("size", got=size, expected="none: masks keep the size of their images", fix=fix)
    architecture = parse(text)
    channels = (architecture.input or source.volume).channels
    return str(architecture.with_input(Volume(channels, tuple(positive("size", one) for one in sizes))))


def _network(recipe: Recipe, source: Source) -> tuple[Network, str]:
    """The network of a recipe on this data, and the canonical text."""
    architecture, learned = parse(recipe.text), _objective(recipe, source)
    learned.accept(recipe)
    network = learned.network(architecture, source, recipe)
    learned.check(network, str(architecture), source.name)
    return network, str(architecture)
