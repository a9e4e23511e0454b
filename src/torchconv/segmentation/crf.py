"""A conditional random field that is dense within a window, by mean field: scores refined by the image."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from math import isfinite
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from ..compute.pairs import PairWindow, distances, messages, products
from ..compute.tensors import THREAD, autocast_dtype, check_tensors
from ..description.axis import integer, plain, positive
from ..errors import DataError, SettingError, ShapeError
from ..network.mean_field import MeanField
from ..text import write_atomically
from .losses import IGNORED, SegmentationLoss

FORMAT = "torchconv.crf"  # of the settings in a file
Example = tuple[Tensor, Tensor | None, Tensor]
LEAST = -60.0  # exponent of a kernel
COMPATIBILITIES, NORMALIZATIONS = ("potts", "matrix"), ("symmetric", "none")


class CRF(torch.nn.Module):
    """Log-probabilities of labels, (batch, classes, *size), from the scores of a network and the image they belong to.

    scores: (batch, classes, *size), logits or log-probabilities. image: (batch, channels, *size), any number of
    channels; uint8 is divided by 255, other numbers are taken as they are. Any number of axes, which the call decides.

    Places at most window // 2 steps of `dilation` pixels apart on each axis are pairs; nothing comes from outside of
    the image. A pair of places with different labels costs

        smoothness * exp(-|p - q|^2 / (2 smoothness_width^2))
        + appearance * exp(-|p - q|^2 / (2 appearance_width^2) - |image(p) - image(q)|^2 / (2 color_width^2))

    smoothness, appearance: weights, which pydensecrf calls compat; None leaves a kernel out. smoothness_width,
    appearance_width: in pixels, one number or one for each axis (sxy). color_width: in units of the image, one number
    or one for each channel (srgb / 255). score_weight: what scores are multiplied with. All of these are learnable.
    compatibility: "potts", equal costs for all different labels, or "matrix", a learnable `compatibility` (classes,
    classes), what label a costs beside label b, that begins as Potts'.
    normalization: "symmetric" divides each kernel by the roots of the sums of both places' windows, the place itself
    included, as NORMALIZE_SYMMETRIC of pydensecrf; "none" leaves it. iterations: of mean field, all places at once.

    Computed in float32 or float64. Raises SettingError, and ShapeError for tensors that do not go together.
    Source: Krähenbühl and Koltun 2011, Efficient inference in fully connected CRFs with Gaussian edge potentials,
    equation 3 and algorithm 1; Teichmann and Cipolla 2018, Convolutional CRFs for semantic segmentation, section 4.

    >>> scores = torch.tensor([[3.0, 3, 3, -1, 3, 3, -3, -3, -3]])  # for one of two labels, with one place gone wrong
    >>> image = torch.tensor([[[0.2, 0.2, 0.2, 0.2, 0.2, 0.2, 0.9, 0.9, 0.9]]])
    >>> CRF(2, window=5)(torch.stack([scores, -scores], 1), image).argmax(1)
    tensor([[0, 0, 0, 0, 0, 0, 1, 1, 1]])
    """

    smoothness: Tensor | None
    appearance: Tensor | None
    compatibility: Tensor | None
    log_smoothness_width: Tensor
    log_appearance_width: Tensor
    log_color_width: Tensor

    def __init__(
        self,
        classes: int,
        window: Any = 11,
        iterations: int = 5,
        *,
        smoothness: float | None = 3.0,
        smoothness_width: Any = 3.0,
        appearance: float | None = 10.0,
        appearance_width: Any = 80.0,
        color_width: Any = 13 / 255,
        score_weight: float = 1.0,
        compatibility: str = "potts",
        normalization: str = "symmetric",
        dilation: Any = 1,
    ) -> None:
        super().__init__()
        self.classes = positive("classes", classes)
        self.window, self.dilation = _per_axis("window", window), _per_axis("dilation", dilation)
        if any(one % 2 == 0 for one in self.window):
            raise SettingError("window", got=window, expected="odd sizes, with the place in the middle")
        self.iterations = _count("iterations", iterations)
        self.normalization = _one_of("normalization", normalization, NORMALIZATIONS)
        self.score_weight = torch.nn.Parameter(torch.tensor(_number("score_weight", score_weight)))
        self._add_kernel("smoothness", smoothness, smoothness_width=smoothness_width)
        self._add_kernel("appearance", appearance, appearance_width=appearance_width, color_width=color_width)
        matrix = _one_of("compatibility", compatibility, COMPATIBILITIES) == "matrix"
        self.register_parameter("compatibility", torch.nn.Parameter(1 - torch.eye(classes)) if matrix else None)

    def _add_kernel(self, name: str, weight: float | None, **widths: Any) -> None:
        """A weight and widths, whose logarithms are learned, so that they stay positive."""
        there = weight is not None
        self.register_parameter(name, torch.nn.Parameter(torch.tensor(_number(name, weight))) if there else None)
        for width, value in widths.items():
            logarithm = torch.tensor(_positive(width, value)).log()
            self.register_parameter(f"log_{width}", torch.nn.Parameter(logarithm) if there else None)

    def forward(self, scores: Tensor, image: Tensor | None = None) -> Tensor:
        window, observer = self._check(scores, image), THREAD.observer
        if observer is None or torch.compiler.is_compiling():
            return self._refined(scores, image, window=window)
        read = [scores] if self.appearance is None or image is None else [scores, image]
        count, learned = len(read), list(self.parameters())  # which are given so that they are counted
        return observer.whole(
            self._operation(window), read + learned, lambda *given: self._refined(*given[:count], window=window)
        )

    def _operation(self, window: PairWindow) -> MeanField:
        """What it is in a network with so many axes."""
        kernels = self.smoothness is not None, self.appearance is not None
        kinds = self.normalization == "symmetric", self.compatibility is not None
        learned = sum(parameter.numel() for parameter in self.parameters())
        return MeanField(self.classes, window.size, window.dilation, self.iterations, *kernels, *kinds, learned)

    def _refined(self, scores: Tensor, image: Tensor | None = None, *, window: PairWindow) -> Tensor:
        device = scores.device.type
        with nullcontext() if autocast_dtype(device) is None else torch.autocast(device, enabled=False):
            dtype = torch.promote_types(torch.promote_types(scores.dtype, self.score_weight.dtype), torch.float32)
            unary = self.score_weight.to(dtype) * scores.to(dtype)
            weights = self._weights(unary, image, window)
            energies = unary
            for _ in range(self.iterations):
                energies = unary - self._costs(messages(weights, functional.softmax(energies, 1), window))
            return functional.log_softmax(energies, 1)

    def _costs(self, received: Tensor) -> Tensor:
        """What each label costs beside those of the pairs; Potts' less a number that all labels share."""
        if self.compatibility is None:
            return -received
        return (self.compatibility.to(received.dtype) @ received.flatten(2)).unflatten(2, received.shape[2:])

    def _weights(self, unary: Tensor, image: Tensor | None, window: PairWindow) -> Tensor:
        """What a pair of different labels costs, (batch, taps, *size)."""
        batch, _, *size = unary.shape
        offsets = torch.tensor(window.offsets(), dtype=unary.dtype, device=unary.device).reshape(-1, len(size))
        total = unary.new_zeros(1, window.taps, *size)
        if self.smoothness is not None:
            kernel = _exponent(offsets, self.log_smoothness_width, size).exp().expand_as(total)
            total = self._weighted(kernel, self.smoothness, window)
        if self.appearance is not None and image is not None:
            colors = image.to(unary.dtype) * (1 / 255 if image.dtype == torch.uint8 else 1)
            steps = self.log_color_width.to(unary.dtype).exp()
            apart = distances(colors / steps.reshape(-1, *[1] * len(size)), window)
            exponent = _exponent(offsets, self.log_appearance_width, size)
            # In place, for these are the largest arrays; and no smaller, for denormal numbers are slow.
            kernel = apart.mul_(-0.5).add_(exponent).clamp_min_(LEAST).exp_()
            total = total + self._weighted(kernel, self.appearance, window)
        return total.expand(batch, *total.shape[1:]).contiguous()

    def _weighted(self, kernel: Tensor, weight: Tensor, window: PairWindow) -> Tensor:
        """A kernel times its weight, divided by the roots of the sums of both windows where that is asked for."""
        weight = weight.to(kernel.dtype)
        if self.normalization == "none":
            return weight * kernel
        ones = torch.ones_like(kernel[:, :1])
        roots = (1 + messages(kernel, ones, window)).rsqrt()
        return kernel * products(weight / 2 * roots, roots, window)

    def _check(self, scores: Tensor, image: Tensor | None) -> PairWindow:
        check_tensors(scores=scores)
        expected = f"(batch, {self.classes} classes, *size)"
        if scores.ndim < 3 or scores.shape[1] != self.classes:
            raise ShapeError("scores of a CRF", got=f"shape {tuple(scores.shape)}", expected=expected)
        if not scores.is_floating_point():
            raise SettingError("scores of a CRF", got=f"{scores.dtype}", expected="numbers with fractions")
        size, ndim = tuple(scores.shape[2:]), scores.ndim - 2
        if self.appearance is not None:
            if image is None:
                raise SettingError(
                    "image of a CRF", got="none", expected="a tensor", fix="Or use CRF(appearance=None)."
                )
            check_tensors(image=image)
            expected = f"(batch, channels, *size) as the scores' {tuple(scores.shape)}"
            if image.ndim != scores.ndim or image.shape[0] != scores.shape[0] or tuple(image.shape[2:]) != size:
                raise ShapeError("image of a CRF", got=f"shape {tuple(image.shape)}", expected=expected)
            if image.dtype != torch.uint8 and not image.is_floating_point():
                expected = "uint8, or numbers with fractions"
                raise SettingError("image of a CRF", got=f"{image.dtype}", expected=expected)
            _fits("color_width", self.log_color_width, image.shape[1], "channels")
            _fits("appearance_width", self.log_appearance_width, ndim, "axes")
        if self.smoothness is not None:
            _fits("smoothness_width", self.log_smoothness_width, ndim, "axes")
        return PairWindow(_each("window", self.window, ndim), _each("dilation", self.dilation, ndim))

    def fit(
        self,
        examples: Iterable[Example],
        *,
        epochs: int = 5,
        rate: float = 0.05,
        loss: str = "cross-entropy",
        ignore: int = IGNORED,
    ) -> CRF:
        """Learn weights, widths and compatibilities by Adam, through the iterations, and return the CRF.

        examples: (scores, image, labels), gone through once an epoch, one step for each; labels (batch, *size) are
        numbers of classes, or `ignore`. Take scores of images that the network was not trained on: it is too sure of
        those. rate: of Adam, at the beginning; a tenth of it at the end. loss: a name that `SegmentationLoss` knows.
        Kept is what has the least mean loss after any epoch, or before the first.
        Raises DataError for no examples.
        """
        examples = examples if isinstance(examples, Sequence) else list(examples)
        if not examples:
            raise DataError("examples to fit a CRF to", got="none", expected="(scores, image, labels)")
        losses = SegmentationLoss(loss, ignore=ignore)

        def mean() -> float:
            with torch.no_grad():
                found = [losses(self(scores, image), labels).mean() for scores, image, labels in examples]
            return float(torch.stack(found).mean())

        optimizer = torch.optim.Adam(self.parameters(), _positive("rate", rate))
        slower = torch.optim.lr_scheduler.LinearLR(optimizer, 1, 0.1, positive("epochs", epochs) * len(examples))
        least, best = mean(), copy.deepcopy(self.state_dict())
        for _ in range(epochs):
            for scores, image, labels in examples:
                optimizer.zero_grad()
                losses(self(scores, image), labels).mean().backward()
                optimizer.step()
                slower.step()
            if (now := mean()) < least:
                least, best = now, copy.deepcopy(self.state_dict())
        optimizer.zero_grad()
        self.load_state_dict(best)
        return self

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all of it, settings too, as a safetensors file, which `CRF.load` reads."""
        from safetensors.torch import save

        tensors = {name: tensor.detach().contiguous() for name, tensor in self.state_dict().items()}
        write_atomically(path, save(tensors, {FORMAT: json.dumps(self._settings())}))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> CRF:
        """The CRF of a file that `save` wrote; raises DataError for any other."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                settings = json.loads((file.metadata() or {})[FORMAT])
                state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
            missing = {name: None for name in ("smoothness", "appearance") if name not in state}
            widths = {name[4:]: tensor.exp().tolist() for name, tensor in state.items() if name.startswith("log_")}
            crf = cls(**settings, **missing, **widths)
            crf.load_state_dict(state)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            expected = "a file that CRF.save wrote"
            raise DataError(f"{os.fspath(path)} is no CRF", got=error, expected=expected) from None
        return crf

    def _settings(self) -> dict[str, Any]:
        names = ("classes", "window", "iterations", "normalization", "dilation")
        kind = COMPATIBILITIES[self.compatibility is not None]
        return {**{name: getattr(self, name) for name in names}, "compatibility": kind}

    @property
    def widths(self) -> dict[str, Any]:
        """The widths as they are now, by name."""
        named = dict(self.named_parameters())
        return {name[4:]: one.detach().exp().tolist() for name, one in named.items() if name.startswith("log_")}

    def extra_repr(self) -> str:
        window = "x".join(map(str, self.window))
        kind = COMPATIBILITIES[self.compatibility is not None]
        return f"{self.classes}, window={window}, iterations={self.iterations}, compatibility={kind}"


def _exponent(offsets: Tensor, log_width: Tensor, size: Sequence[int]) -> Tensor:
    """Of a Gaussian of distances (taps, axes), as (1, taps, 1, ...)."""
    exponent = -(offsets / log_width.to(offsets.dtype).exp()).square().sum(1) / 2
    return exponent.reshape(1, -1, *[1] * len(size))


def _per_axis(name: str, value: Any) -> tuple[int, ...]:
    values = plain(value)
    return tuple(positive(name, one) for one in (values if isinstance(values, list) else [values]))


def _each(name: str, values: tuple[int, ...], ndim: int) -> tuple[int, ...]:
    if len(values) not in (1, ndim):
        raise ShapeError(f"{name} of a CRF on scores with {ndim} axes", got=values, expected=f"one number or {ndim}")
    return values * ndim if len(values) == 1 else values


def _fits(name: str, log_width: Tensor, count: int, of: str) -> None:
    if log_width.ndim and len(log_width) != count:
        expected = f"one number, or {count} for as many {of}"
        raise ShapeError(f"{name} of a CRF", got=f"{len(log_width)} numbers", expected=expected)


def _count(name: str, value: Any) -> int:
    number = integer(name, value)
    if number < 0:
        raise SettingError(name, got=value, expected="an integer >= 0")
    return number


def _number(name: str, value: Any) -> float:
    value = plain(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise SettingError(name, got=repr(value), expected="a number")
    return float(value)


def _positive(name: str, value: Any) -> Any:
    """One number, or some, all above 0."""
    values = plain(value)
    numbers = [_number(name, one) for one in (values if isinstance(values, list) else [values])]
    if not numbers or min(numbers) <= 0:
        raise SettingError(name, got=value, expected="numbers > 0")
    return numbers if isinstance(values, list) else numbers[0]


def _one_of(name: str, value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise SettingError(name, got=repr(value), expected=" or ".join(map(repr, known)))
    return value
