"""The words of the language: what each may say in brackets, and what it makes.

Whatever a layer does not say has its default, and all defaults are here:

    word        in brackets                                          what is not said
    INPUT       height x width x channels, as in 32x32x3             the volume of the data; INPUT may be left out
    CONV        filters, kernel, same|valid|full, transposed,        32 filters, 3 along each axis, same, stride 1
                name=value
    LOCAL       the same: a kernel of its own at every position      the same
    TILED       the same, period=: kernels that repeat               the same, period 2
    POOL        kernel, max|mean|l2|lp|binomial|gaussian, p=,        2 along each axis, max, valid, stride = kernel
                same|valid|full, name=value
    LEARNEDPOOL kernel, same|valid|full, per_channel=yes, name=value 2 along each axis, valid, one set of weights
    GRIDPOOL    grid or grids, as in 2x2 or 1x1+2x2, a statistic, p= 2 cells along each axis, max
    GLOBALPOOL  max|mean|l2|lp, p=                                   mean
    MAXOUT      channels                                             2
    CHANNELPOOL channels, max|mean|l2|lp|binomial|gaussian, stride=  2, max, stride = channels
    UPSAMPLE    factor, nearest|linear                               2 along each axis, nearest
    FC          outputs, bias=                                       the number of classes if last, else 128
    NORM        batch|layer|instance|group|local, groups=,           batch, 32 groups, momentum 0.1, eps 1e-5
                momentum=, eps=
    SCALE       nothing
    DROPOUT     rate                                                 0.5
    RELU, LEAKYRELU, ELU, GELU, SILU, TANH, SIGMOID: nothing
    SOFTMAX     nothing; it stands at the end only                   FC to the classes first, unless scores are there
    IDENTITY    nothing: it is what a branch without layers says
    MARK, FROM  a name: FROM[a] goes on from where MARK[a] stands
    SUM(a | b), CONCAT(a | b): branches; in brackets crop            branches of equal sizes

Names that CONV takes: stride, padding, dilation, groups, connections, padding_mode, input_dilation, sharing, bias,
bias_sharing, output_padding (LOCAL and TILED: but sharing); POOL and LEARNEDPOOL: stride, padding, dilation, ceil_mode,
POOL also count_include_pad. They are written as `str(Convolution)` writes them:
stride=2, padding=0:1x1. With `transposed`, stride, padding and output_padding mean what they mean in torch, and same
makes every sample into `stride` samples. An FC is last if nothing or only SOFTMAX follows. FC, CONV, GLOBALPOOL,
UPSAMPLE, SUM and CONCAT give scores; after anything else SOFTMAX is the notes' softmax classifier, FC included.
One number stands for all axes: CONV[16, 5] is 5x5 on images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..description import notation
from ..description.axis import PADDING_WORDS
from ..network import elementwise, merging, pooling
from ..network import operations as ops
from ..network.operations import Operation
from . import layers, values
from .layers import Surroundings, Values

Made = Operation | list[Operation]


@dataclass(frozen=True)
class Word:
    """How one word reads its settings (`slots`: values without a name, `names`: those with one), and what it makes.

    The first free slot that recognises a value takes it. branches: whether chains stand in round brackets after it.
    needs: a setting that must be there. make is None for the words that only say where things are.
    """

    make: Callable[[Values, Surroundings], Made] | None = None
    slots: tuple[tuple[str, values.Recognise], ...] = ()
    names: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    branches: bool = False
    needs: str = ""

    @property
    def accepts(self) -> str:
        """What may stand in the brackets, for messages."""
        parts = [name for name, _ in self.slots] + [f"{name}=..." for name in self.names]
        return ", ".join(parts) if parts else "no settings"


_PADDING = ("padding", values.one_of(*PADDING_WORDS))
_STATISTIC = ("statistic", values.one_of(*pooling.SUMMARIES))
_WEIGHTED = ("statistic", values.one_of(*pooling.SUMMARIES, *layers.WEIGHTS))
_POWER = {"p": values.read_decimal}
_CROP = ("crop", values.one_of("crop"))
_GEOMETRY = {name: notation.READERS[name] for name in ("stride", "padding", "dilation")}
_GEOMETRY["ceil_mode"] = notation.read_switch
_CONV_SLOTS = (
    *(("filters", values.number), ("kernel", values.sizes), _PADDING),
    ("transposed", values.one_of("transposed")),
)
_CONV_NAMES = {**notation.READERS, "output_padding": values.read_steps}
_UNSHARED = {name: read for name, read in _CONV_NAMES.items() if name != "sharing"}
_ACTIVATIONS = {
    word.upper(): Word(lambda values, around, word=word: elementwise.Activation(word))
    for word in elementwise.Activation.words
}
WORDS: dict[str, Word] = {
    "INPUT": Word(layers.make_input, (("height x width x channels", values.sizes),)),
    "CONV": Word(layers.make_conv, _CONV_SLOTS, _CONV_NAMES),
    "LOCAL": Word(layers.make_local, _CONV_SLOTS, _UNSHARED),
    "TILED": Word(layers.make_tiled, _CONV_SLOTS, {**_UNSHARED, "period": values.read_steps}),
    "POOL": Word(
        layers.make_pool,
        (("kernel", values.sizes), _WEIGHTED, _PADDING),
        {**_GEOMETRY, **_POWER, "count_include_pad": notation.read_switch},
    ),
    "LEARNEDPOOL": Word(
        layers.make_learned_pool,
        (("kernel", values.sizes), _PADDING),
        {**_GEOMETRY, "per_channel": notation.read_switch},
    ),
    "GRIDPOOL": Word(layers.make_grid_pool, (("grid", values.grids), _STATISTIC), _POWER),
    "GLOBALPOOL": Word(lambda values, around: pooling.GlobalPool(**values), (_STATISTIC,), _POWER),
    "MAXOUT": Word(layers.make_channel_pool, (("channels", values.number),)),
    "CHANNELPOOL": Word(
        layers.make_channel_pool,
        (("channels", values.number), _WEIGHTED),
        {"stride": values.read_steps, **_POWER},
    ),
    "UPSAMPLE": Word(layers.make_upsample, (("factor", values.sizes), ("mode", values.one_of(*ops.Upsample.modes)))),
    **_ACTIVATIONS,
    "NORM": Word(
        layers.make_norm,
        (("kind", values.one_of(*elementwise.Norm.kinds)),),
        {"groups": notation.read_integer, "momentum": values.read_decimal, "eps": values.read_decimal},
    ),
    "SCALE": Word(lambda values, around: elementwise.Scale()),
    "DROPOUT": Word(
        lambda values, around: elementwise.Dropout(values.get("rate", layers.DROPOUT_RATE)), (("rate", values.rate),)
    ),
    "FC": Word(layers.make_fc, (("outputs", values.number),), {"bias": notation.read_switch}),
    "SOFTMAX": Word(layers.make_softmax),
    "SUM": Word(lambda values, around: merging.Sum("crop" in values), (_CROP,), branches=True),
    "CONCAT": Word(lambda values, around: merging.Concat("crop" in values), (_CROP,), branches=True),
    "IDENTITY": Word(),
    "MARK": Word(None, (("name", values.name),), needs="name"),
    "FROM": Word(None, (("name", values.name),), needs="name"),
}
CHOICES = (  # every word that a slot may know
    *PADDING_WORDS,
    *pooling.SUMMARIES,
    *layers.WEIGHTS,
    *ops.Upsample.modes,
    *elementwise.Norm.kinds,
    "transposed",
    "crop",
)
