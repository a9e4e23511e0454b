"""Classifiers of `transformers` that slide, a sample of them by default: TORCHCONV_MODELS=all for every one."""

from __future__ import annotations

import os

import pytest
from benchmarks.sliding_models import TRANSFORMERS, WINDOW, WINDOWS, built, checked

import torchconv as tc
from torchconv.errors import UnsupportedError

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

READS_ALL = {
    "ConvNextV2": "layers.0.grn, ConvNextV2GRN: .* over all places",
    "RegNet Y": "layers.0.layer.2, RegNetSELayer: .* over all places of a window",
    "EfficientNet": "blocks.0.squeeze_excite, .* over all places of a window",
    "Bit": "norm1, BitGroupNormActivation: .* mean and variance are taken over places",
    "PoolFormer": "before_norm, PoolFormerGroupNorm: .* mean and variance are taken over places",
    "ViT": "embeddings, ViTEmbeddings: .* class token",
    "Swin": "layers.0.blocks.0, SwinLayer: .* over places",
}
SLIDE = [name for name in TRANSFORMERS if name not in READS_ALL]
EVERY = os.environ.get("TORCHCONV_MODELS") == "all"


@pytest.mark.parametrize("name", SLIDE if EVERY else SLIDE[2::3])
def test_windows_are_the_model_on_a_larger_image_pooled_over_one_of_them(name):
    model, window = built(name), WINDOWS.get(name, WINDOW)
    error, apart = checked(model, tc.as_convolution(model, (3, window, window)), window)
    assert error < 1e-13
    assert apart > 1e-6


@pytest.mark.parametrize("name", READS_ALL if EVERY else [*READS_ALL][::3])
def test_the_layer_that_reads_the_whole_image_is_named(name):
    window = WINDOWS.get(name, WINDOW)
    with pytest.raises(UnsupportedError, match=READS_ALL[name]):
        tc.as_convolution(built(name), (3, window, window))
