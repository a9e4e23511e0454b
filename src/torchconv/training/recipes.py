"""What `torchconv train` does where it is not told otherwise: recipes by the kind of data and by name. No torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ..description.axis import integer, positive
from ..errors import SettingError
from ..text import did_you_mean

MOST = {"epochs": 1_000_000, "batch_size": 2**31 - 1}
FEWEST_STEPS = 300
PROGRESSIVE_SIZE = 0.75  # of the sides of images, while they are smaller
CHOICES = {
    "precision": ("32-true", "bf16-mixed", "auto"),
    "optimizer": ("adamw", "sgd", "muon"),
    "schedule": ("one-cycle", "triangular"),
    "averaging": ("ema", "lookahead"),
    "test_time_augmentation": ("none", "mirror", "mirror-shift"),
    "targets": ("pixels", "outputs"),
}
# smallest and largest; what must be above 0 begins just there
TINY = 1e-12
RANGES = {
    "learning_rate": (TINY, 100),
    "label_smoothing": (0, 0.999),
    "weight_decay": (0, 10),
    "epsilon": (TINY, 1),
    "momentum": (0, 0.9999),
    "muon_rate": (TINY, 100),
    "schedule_peak": (TINY, 0.999),
    "schedule_end": (0, 1),
    "norm_bias_rate": (TINY, 1e6),
    "norm_momentum": (TINY, 1),
    "score_scale": (TINY, 1e6),
    "progressive_resizing": (0, 1),
    "resolution": (0.01, 1),
}


@dataclass(frozen=True)
class Recipe:
    """An architecture text and the settings it trains well with.

    epochs, batch_size: integers >= 1; of all processes together. learning_rate: the highest of the schedule.
    label_smoothing: Szegedy et al. 2016, section 7. weight_decay: how much of a weight a step at rate 1 takes away.
    patience: epochs without a better validation after which to stop; None goes through all epochs.
    precision: auto is bf16-mixed where the processor or the GPU multiplies matrices in bfloat16, 32-true elsewhere.
    optimizer: AdamW (Loshchilov, Hutter 2019), or SGD with Nesterov's momentum, which `momentum` is for; muon is SGD in
    which the kernels of convolutions are moved by Muon, at muon_rate. epsilon: gradients far below it hardly move a
    weight in AdamW; where it is too small, noise of rounding does.
    schedule: one-cycle (Smith, Topin 2018), or a triangle from a fifth of the rate up to all of it after
    schedule_peak of the steps, and down to schedule_end.
    norm_bias_rate: factor of the rate for the biases of NORM. norm_scales: whether NORM learns scales. norm_momentum:
    what a batch counts in NORM's running statistics.
    whitening: the first convolution decorrelates patches of the training images and is not learned (Page 2018; Jordan
    2024); its bias is, for three epochs.
    identity: further convolutions begin by passing channels on.
    averaging: an exponential moving average, or lookahead (Zhang et al. 2019), which the learning goes on from.
    augmentation: light changes of the images, by the names of `augmentation.Augmentation`; of images with masks also
    scale:2 (half to twice as large) and aspect:0.1 (a tenth wider or narrower), and not affine and shift.
    progressive_resizing: share of the epochs, from the first on, on images of three quarters of their sides, which
    takes less time (Howard 2018); for networks that take any size, such as those that end with GLOBALPOOL and FC.
    test_time_augmentation: what the trained network is asked about besides an image: its mirror image, or both moved.
    score_scale: what the initial scores of the last layer are multiplied by, its steps along with them.

    Of networks that give a class to each pixel, learned from masks:
    loss: cross-entropy, focal, dice, lovasz, or a sum, as of `segmentation.SegmentationLoss`. class_weights: what
    pixels of rare classes count, as of `segmentation.class_weights`. targets: whether the loss is that of all pixels,
    or of the network's outputs alone, where they are fewer: each has the label in the middle of its field.
    resolution: share of the sides of images at which the network looks at them; scores are those of all pixels
    nevertheless. crop: height and width of the parts it learns from, at that resolution, as in 160x160; empty takes the
    size of the first image. ignore: labels of masks that are of no class, by names or values with commas between;
    empty finds them.
    """

    text: str
    epochs: int
    batch_size: int = 64
    learning_rate: float = 0.01
    label_smoothing: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0
    patience: int | None = None
    precision: str = "32-true"
    optimizer: str = "adamw"
    epsilon: float = 1e-8
    momentum: float = 0.9
    muon_rate: float = 0.1
    schedule: str = "one-cycle"
    schedule_peak: float = 0.25
    schedule_end: float = 0.07
    norm_bias_rate: float = 1.0
    norm_scales: bool = True
    norm_momentum: float = 0.1
    whitening: bool = False
    identity: bool = False
    averaging: str = "ema"
    augmentation: str = "affine"
    progressive_resizing: float = 0.0
    test_time_augmentation: str = "none"
    score_scale: float = 1.0
    loss: str = "cross-entropy"
    class_weights: str = "none"
    targets: str = "pixels"
    resolution: float = 1.0
    crop: str = ""
    ignore: str = ""

    def __post_init__(self) -> None:
        for name in ("text", "augmentation", "loss", "class_weights", "crop", "ignore"):
            if not isinstance(getattr(self, name), str):
                raise SettingError(name, got=repr(getattr(self, name)), expected="a text")
        for name, most in MOST.items():
            if positive(name.replace("_", " "), value := getattr(self, name)) > most:
                raise SettingError(name.replace("_", " "), got=value, expected=f"an integer from 1 to {most}")
        if not (0 <= integer("seed", self.seed) < 2**32):
            raise SettingError("seed", got=self.seed, expected="an integer from 0 to 4294967295")
        if self.patience is not None:
            positive("patience", self.patience)
        for name, known in CHOICES.items():
            if (value := getattr(self, name)) not in known:
                raise SettingError(name, got=value, expected=_any_of(known), fix=did_you_mean(value, known))
        for name, (least, most) in RANGES.items():
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not least <= value <= most:
                expected = f"a number {'above 0' if least == TINY else f'from {least}'} to {most:g}"
                raise SettingError(name.replace("_", " "), got=value, expected=expected)
        for name in ("norm_scales", "whitening", "identity"):
            if not isinstance(getattr(self, name), bool):
                raise SettingError(name.replace("_", " "), got=repr(getattr(self, name)), expected="True or False")

    def changed(self, settings: Mapping[str, Any]) -> Recipe:
        """With other settings; raises SettingError for one that there is not."""
        known = [field.name for field in fields(self)]
        for name in settings:
            if name not in known:
                raise SettingError(
                    f"setting {name}", expected=f"one of {', '.join(known)}", fix=did_you_mean(name, known)
                )
        return replace(self, **settings)

    def fitted(self, images: int, given: Collection[str]) -> Recipe:
        """For few images: smaller batches, and epochs until there are 300 steps, where neither is given.

        >>> FOLDER.fitted(10_000, ()) == FOLDER, FOLDER.fitted(24, ()).batch_size, FOLDER.fitted(24, ()).epochs
        (True, 3, 38)
        """
        # two at least: one image alone has no statistics for NORM
        batch = self.batch_size if "batch_size" in given else min(self.batch_size, max(2, images // 8))
        enough = math.ceil(FEWEST_STEPS / max(1, images // batch))
        epochs = self.epochs if "epochs" in given else max(self.epochs, enough)
        return replace(self, batch_size=batch, epochs=epochs)


def _any_of(known: Collection[str]) -> str:
    *others, last = known
    return f"{', '.join(others)} or {last}"


# Chosen by cross-validation inside the training and validation images (3 mistakes in 1,437), never on the test images.
DIGITS = Recipe(
    "INPUT[8x8x1] - (CONV[32] - NORM - RELU)*2 - POOL - (CONV[64] - NORM - RELU)*2 - POOL"
    " - DROPOUT[0.3] - FC - SOFTMAX",
    epochs=30,
    epsilon=1e-4,
)
FOLDER = Recipe(
    "INPUT[32x32x3] - (CONV[32] - NORM - RELU)*2 - POOL - (CONV[64] - NORM - RELU)*2 - POOL"
    " - (CONV[128] - NORM - RELU)*2 - POOL - DROPOUT[0.3] - FC - SOFTMAX",
    epochs=30,
)
# After Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU"; for these widths oneDNN's kernels in bfloat16
# are fast (from 64 to 256 channels its gradient of the weights is ten times slower), Muon and the residual
# sums were chosen on CIFAR-10's validation images: see benchmarks/results/training.txt.
FAST = Recipe(
    "INPUT[32x32x3] - CONV[24, 2x2, valid] - GELU"
    " - CONV[64, bias=no] - POOL - NORM - GELU - CONV[64, bias=no] - NORM - GELU"
    " - CONV[128, bias=no] - POOL - NORM - GELU - SUM(IDENTITY | (CONV[128, bias=no] - NORM - GELU)*2)"
    " - CONV[256, bias=no] - POOL - NORM - GELU - SUM(IDENTITY | (CONV[256, bias=no] - NORM - GELU)*2)"
    " - GLOBALPOOL[max] - FC[bias=no] - SOFTMAX",
    epochs=22,
    batch_size=1024,
    learning_rate=1.5,
    label_smoothing=0.2,
    weight_decay=0.0013,
    precision="bf16-mixed",
    optimizer="muon",
    momentum=0.85,
    muon_rate=0.17,
    schedule="triangular",
    schedule_peak=0.15,
    schedule_end=0.05,
    norm_bias_rate=64.0,
    norm_scales=False,
    norm_momentum=0.4,
    whitening=True,
    identity=True,
    averaging="lookahead",
    augmentation="flip-shift:3-cutout",
    progressive_resizing=0.4,
    test_time_augmentation="mirror-shift",
    score_scale=1 / 9,
)


def _residual(channels: int, dilation: int = 1) -> str:
    one = f"CONV[{channels}, bias=no]" if dilation == 1 else f"CONV[{channels}, dilation={dilation}, bias=no]"
    return f"SUM({one} - NORM - RELU - {one} - NORM | IDENTITY) - RELU"


def _halved(channels: int) -> str:
    return f"CONV[{channels}, stride=2, padding=1, bias=no] - NORM - RELU"


def _enlarged(channels: int, mark: str) -> str:
    return f"CONV[{channels}, 1x1, bias=no] - NORM - UPSAMPLE[linear, to={mark}] - SUM(FROM[{mark}] | IDENTITY)"


# Residual sums down to a sixteenth of the sides, where dilation lets them see far, and up again by sums with the finer
# maps (Ronneberger et al. 2015; He et al. 2016; Yu, Koltun 2016), to a label for every second pixel. Nothing looks at
# the whole image, so that tiles give the same labels. Chosen on CamVid's validation images: the weights of classes
# matter most (mean IoU 0.57 after 5 epochs, 0.42 without), then Muon (0.43 after 5 epochs, AdamW 0.33).
MASKS = Recipe(
    f"INPUT - {_halved(32)} - MARK[half]"
    f" - {_halved(48)} - ({_residual(48)})*2 - MARK[quarter]"
    f" - {_halved(96)} - ({_residual(96)})*2 - MARK[eighth]"
    f" - {_halved(192)} - {_residual(192)} - {_residual(192, 2)} - {_residual(192, 4)} - {_residual(192, 8)}"
    f" - {_enlarged(96, 'eighth')} - {_residual(96)} - {_enlarged(48, 'quarter')} - {_residual(48)}"
    f" - {_enlarged(32, 'half')} - CONV[32, bias=no] - NORM - RELU - CONV[classes, 1x1] - SOFTMAX",
    epochs=24,
    batch_size=8,
    learning_rate=0.1,
    label_smoothing=0.0,
    weight_decay=0.0,
    precision="auto",
    optimizer="muon",
    momentum=0.85,
    muon_rate=0.06,
    schedule="triangular",
    schedule_peak=0.15,
    schedule_end=0.05,
    augmentation="scale:0.5:1.75-aspect:0.1-flip-colour",
    class_weights="balanced:0.3",
    targets="outputs",
    crop="288x384",
)
# Muon keeps the norm of kernels, which only NORM makes up for.
WITHOUT_NORM = {"optimizer": "adamw", "learning_rate": 0.001, "schedule": "one-cycle", "weight_decay": 0.01}
RECIPES = {"digits": DIGITS, "folder": FOLDER, "masks": MASKS}  # by the kind of the data
NAMED = {"fast": FAST}


def named(name: str, kind: str) -> Recipe:
    """The recipe of a name; `default` is that of the kind of the data.

    >>> named("default", "digits") == DIGITS
    True
    """
    known = ("default", *NAMED)
    if name not in known:
        raise SettingError("recipe", got=name, expected=_any_of(known), fix=did_you_mean(name, known))
    if kind == "masks" and name != "default":
        expected = "default, as the data have masks"
        raise SettingError("recipe", got=f"{name}, which is for a class of each image", expected=expected)
    return RECIPES.get(kind, FOLDER) if name == "default" else NAMED[name]
