"""How each kind of operation is written anew: one rule for each builder of the table of operators that needs one.

Any other operation stays as it is where its locality is pointwise, and is refused where it is not.
"""

from __future__ import annotations

from typing import Any

from ...tracing.aten import indexing, rearranging, reductions, windows
from . import channel_rules, window_rules
from .rewriting import Rule

RULES: dict[Any, Rule] = {
    "layer": window_rules.described,
    windows.convolution: window_rules.windowed,
    windows.pooling: window_rules.pooling,
    windows.adaptive: window_rules.adaptive,
    windows.resize: window_rules.resize,
    windows.pad: window_rules.windowed,
    windows.cut: channel_rules.cut,
    rearranging.same: channel_rules.same,
    rearranging.reshape: channel_rules.reshape,
    rearranging.permute: channel_rules.permute,
    rearranging.expand: channel_rules.expand,
    rearranging.select: channel_rules.parts,
    rearranging.unbind: channel_rules.parts,
    rearranging.split: channel_rules.parts,
    rearranging.join: channel_rules.join,
    rearranging.shuffle: window_rules.shuffled,
    rearranging.channel_shuffle: channel_rules.channel_shuffle,
    rearranging.same_places: channel_rules.prelu,
    indexing.index: channel_rules.chosen,
    reductions.reduce: window_rules.reduce,
    reductions.mix: channel_rules.mixed,
    reductions.running: channel_rules.mixed,
    reductions.glu: channel_rules.along,
    reductions.batch_norm: channel_rules.batch_norm,
    reductions.group_norm: channel_rules.group_norm,
    reductions.layer_norm: channel_rules.layer_norm,
    reductions.linear: window_rules.linear,
    reductions.product: window_rules.product,
}
