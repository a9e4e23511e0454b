"""A run folder: everything a trained network needs to be used again, and what is known about its training.

config.json          format version, settings, data and split counts, input volume, scaling, versions
architecture.txt     the text of the network
classes.json         names of the classes in the order of the scores
weights.safetensors  the weights that were best on the validation images
metrics.json         every epoch, and the final numbers
report.html          the results on one page
logs/                every epoch for TensorBoard, and as metrics.csv
checkpoint.ckpt      while the training is not complete: what it takes to go on
examples/            of digits a real test scan of each class, of images with masks one for validation
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors

from ...errors import DataError, TorchconvError
from ...language.network_module import NetworkModule, build
from ...language.parser import parse
from ...network.operations import Volume
from ..augmentation import Scaling
from ..data.labels import PixelLabels
from ..data.parts import Source, Split
from ..objectives import Objective
from ..objectives.classification import Classification
from ..objectives.segmentation import Segmentation

FORMAT = 1
RESTORE = "Train again, or restore the file."
CONFIG, TEXT, CLASSES = "config.json", "architecture.txt", "classes.json"
WEIGHTS, METRICS = "weights.safetensors", "metrics.json"
LOGS, REPORT, EXAMPLES = "logs", "report.html", "examples"


@dataclass(frozen=True)
class Config:
    """What config.json holds."""

    data: str
    data_kind: str
    images: dict[str, int]
    input: str
    mean: list[float]
    std: list[float]
    settings: dict[str, Any]
    files: str = ""  # a digest of the paths and sizes of a folder's images
    versions: dict[str, str] = field(default_factory=dict)
    labels: dict[str, Any] | None = None  # what masks say, as of `PixelLabels.to_dict`; None for a class of each image
    format: int = FORMAT

    @property
    def volume(self) -> Volume:
        """The input volume."""
        return Volume.parse(self.input)

    @property
    def test_time_augmentation(self) -> str:
        """What the network is asked about besides an image: none, mirror or mirror-shift."""
        return str(self.settings.get("test_time_augmentation", "none"))

    @property
    def scaling(self) -> Scaling:
        """How images were scaled for the network."""
        return Scaling(tuple(self.mean), tuple(self.std))


def objective(classes: Sequence[str], labels: PixelLabels | None, settings: Mapping[str, Any]) -> Objective:
    """What networks are trained for: one class for each image, or where masks have labels one for each pixel."""
    return Classification(classes) if labels is None else Segmentation(labels, settings)


@dataclass(frozen=True)
class Description:
    """What a run folder says before anything is trained."""

    path: Path
    config: Config
    classes: tuple[str, ...]
    text: str

    @classmethod
    def read(cls, path: str | Path) -> Description:
        """From a run folder; raises DataError naming the file that is missing, damaged or newer."""
        root = Path(path)
        if not (root / CONFIG).is_file():
            got = f"no {CONFIG} in it" if root.is_dir() else "no such folder"
            raise DataError(f"run {root}", got=got, expected="a folder that torchconv train has written")
        config = _config(root / CONFIG)
        classes = _json(root / CLASSES)
        names = isinstance(classes, list) and all(isinstance(name, str) for name in classes)
        if not names or len(set(classes)) < max(2, len(classes)):
            expected = "a list of at least two different names"
            raise DataError(str(root / CLASSES), got=repr(classes)[:60], expected=expected)
        return cls(root, config, tuple(classes), read_file(root / TEXT).decode("utf-8", errors="replace"))

    @property
    def objective(self) -> Objective:
        """What it is trained for."""
        found = self.config.labels
        labels = None if found is None else PixelLabels.from_dict(self.classes, found)
        return objective(self.classes, labels, self.config.settings)

    def parts(self, source: Source, since: str, fix: str) -> dict[str, Split]:
        """The splits of its data; raises DataError where they have changed since."""
        parts = source.parts(int(self.config.settings.get("seed", 0)))
        counts = {name: len(part) for name, part in parts.items()}
        if (counts, source.classes, source.digest()) != (self.config.images, self.classes, self.config.files):
            same = counts == self.config.images
            got, expected = (
                ("other names or sizes of its files", "those of the training") if same else (counts, self.config.images)
            )
            raise DataError(f"data {source.name} has changed since {since}", got=got, expected=expected, fix=fix)
        return parts

    def metrics(self) -> dict[str, Any]:
        """What metrics.json holds; nothing where there is none. Raises DataError for a damaged one."""
        path = self.path / METRICS
        found = _json(path) if path.exists() else None
        return found if isinstance(found, dict) else {}

    def final(self) -> dict[str, Any] | None:
        """The final numbers of a training that is complete."""
        final = self.metrics().get("final")
        return final if isinstance(final, dict) else None


@dataclass(frozen=True)
class Run(Description):
    """A trained network, ready to be used."""

    module: NetworkModule


def load(path: str | Path) -> Run:
    """A run from its folder; raises DataError naming the file that is missing, damaged, newer or of another network."""
    found = Description.read(path)
    root, volume = found.path, found.config.volume
    try:
        module = build(parse(found.text), (volume.channels, *volume.size), len(found.classes))
    except TorchconvError as error:
        told = {"got": error.got, "expected": error.expected, "fix": error.fix, "where": error.where}
        raise DataError(f"{root / TEXT}: {error.what}", **told) from None
    try:
        found.objective.check(module.network, str(root / TEXT), str(root / CLASSES))
    except TorchconvError as error:
        fix = f"{TEXT} and {CLASSES} are of two runs: put back those of one."
        raise DataError(f"run {root}: {error.what}", got=error.got, expected=error.expected, fix=fix) from None
    load_weights(module, root / WEIGHTS)
    return Run(root, found.config, found.classes, found.text, module.eval())


def _config(path: Path) -> Config:
    found = _json(path)
    version = found.get("format") if isinstance(found, dict) else None
    if not isinstance(version, int):
        raise DataError(f"{path} is not a run's config", got=f"format {version!r}", expected=f"format {FORMAT}")
    if version > FORMAT:
        got, expected = f"format {version}", f"at most {FORMAT}"
        raise DataError(f"{path} is of a newer torchconv", got=got, expected=expected, fix="Update torchconv.")
    try:
        config = Config(**found)
        _check_values(config)
        return config
    except (TypeError, ValueError, AttributeError, LookupError) as error:
        reason = str(error).removeprefix("Config.__init__() ")
        raise DataError(f"{path} is damaged", got=reason, fix=RESTORE) from None


def _check_values(config: Config) -> None:
    """Raise TypeError, ValueError or AttributeError for values of the wrong kind or out of range."""
    channels = config.volume.channels
    if channels < 1 or any(size < 1 for size in config.volume.size) or not isinstance(config.settings, dict):
        raise ValueError(config.input)
    numbers = [*config.mean, *config.std]
    if not len(config.mean) == len(config.std) == channels or not all(is_number(value) for value in numbers):
        raise ValueError(f"scaling of {channels} channels")
    if not all(value > 0 for value in config.std):
        raise ValueError(f"scaling by {config.std}")
    names = (config.data, config.data_kind, config.files)
    if not all(isinstance(name, str) for name in names) or "\0" in config.data or not config.data:
        raise ValueError(f"data {config.data!r:.60} of kind {config.data_kind!r:.60}")
    seed = config.settings.get("seed", 0)
    if type(seed) is not int or not 0 <= seed < 2**32:
        raise ValueError(f"seed {seed!r:.60}")
    if not all(type(value) is int for value in config.images.values()):
        raise ValueError("images")
    if config.labels is not None:
        PixelLabels.from_dict([""] * len(config.labels["values"]), config.labels)


def is_number(value: Any) -> TypeGuard[float]:
    """Whether a value from a JSON file is a finite number."""
    return type(value) in (int, float) and math.isfinite(value)


def _json(path: Path) -> Any:
    content = read_file(path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise DataError(f"{path} is damaged", got="no JSON", fix=RESTORE) from None


def read_file(path: Path) -> bytes:
    """The bytes of a file of a run; raises DataError where they cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read", got=error.strerror, fix=RESTORE) from None


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Fill a module from a safetensors file; raises DataError naming what differs where it is of another network."""
    try:
        saved = load_tensors(read_file(path))
    except SafetensorError as error:
        raise DataError(f"{path} is torn or no safetensors file", got=error, fix=RESTORE) from None
    if found := differing(saved, module):
        got = "; ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        fix = f"Put back the {WEIGHTS} and the {TEXT} of one run."
        raise DataError(f"{path} holds the weights of another network", got=got, expected=f"those of {TEXT}", fix=fix)
    module.load_state_dict(saved)


def differing(saved: Mapping[str, torch.Tensor], module: torch.nn.Module) -> list[str]:
    """Saved tensors that are not those of a module by name and shape, with what the module has."""
    shapes = [
        {name: str(tuple(value.shape)) for name, value in state.items()} for state in (saved, module.state_dict())
    ]
    names = [name for name in {**shapes[1], **shapes[0]} if shapes[0].get(name) != shapes[1].get(name)]
    return [f"{name} {shapes[0].get(name, 'nothing')} for {shapes[1].get(name, 'nothing')}" for name in names]
