"""Seventy models of other people, a sample of them by default: TORCHCONV_MODELS=all for every one."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import torchconv as tc
from configurations import MODELS
from test_regions import in_tiles
from torchconv.convert.tiled.model import TiledModel
from torchconv.errors import UnsupportedError
from torchconv.network.propagation import propagate
from torchconv.tracing.trace import trace

transformers = pytest.importorskip("transformers")
transformers.logging.set_verbosity_error()

ATEN = torch.ops.aten
EVERY = [*MODELS] if os.environ.get("TORCHCONV_MODELS") == "all" else [*MODELS][::14]
# images on which fields are compared: classes of every way to see, some of which see all
FIELDS = {
    "ResNetForImageClassification": (96, 128),
    "MobileNetV1Model": (96, 128),
    "RegNetModel": (96, 128),
    "TextNetModel": (96, 128),
    "PoolFormerModel": (96, 128),
    "HGNetV2Backbone": (96, 128),
    "SwinForImageClassification": (64, 64),
    "ConvNextModel": (96, 128),
    "SegformerForSemanticSegmentation": (64, 64),
    "ViTForImageClassification": (32, 32),
    "Swin2SRForImageSuperResolution": (16, 16),
    "FocalNetModel": (64, 64),
}
# products of constants that no output reads: scores of the queries before any image is looked at
APART = {"Mask2FormerForUniversalSegmentation": 480}


def built(name):
    torch.manual_seed(0)
    kind = getattr(transformers, name)
    settings, shapes = MODELS[name]
    inputs = {}
    for key, shape in shapes.items():
        inputs[key] = torch.randn(shape) if key != "input_ids" else torch.arange(2, 2 + shape[0])[None]
    if name.startswith("Llava"):
        inputs["input_ids"][:, 1:17] = 98
    settings = {key: value for key, value in settings.items() if key != "model_type"}
    return kind(kind.config_class(**settings)).eval(), inputs


FUSED = {  # that the counter knows on other devices only
    ATEN._scaled_dot_product_flash_attention_for_cpu: lambda query, key, *more, out_shape=None, **settings: (
        4 * query[0] * query[1] * query[2] * key[2] * query[3]
    ),
    ATEN.mkldnn_rnn_layer: lambda x, weight, other, *more, out_shape=None, **settings: (
        2 * x[0] * x[1] * (weight[0] * weight[1] + other[0] * other[1])
    ),
}


@pytest.mark.parametrize("name", EVERY)
def test_a_model_is_inspected(name):
    model, inputs = built(name)
    torch.manual_seed(1)  # some draw numbers
    with FlopCounterMode(display=False, custom_mapping=FUSED) as counter, torch.no_grad():
        expected = model(**inputs)
    before = {key: (id(one), one.clone()) for key, one in model.state_dict(keep_vars=True).items()}
    attributes = {key: {*vars(module)} for key, module in model.named_modules()}
    report = tc.inspect(model, inputs)
    assert report.complete, report.warnings
    assert report.total_parameters == sum(one.numel() for one in model.parameters())
    assert report.total_customary_macs == counter.get_total_flops() // 2 - APART.get(name, 0)
    after = model.state_dict(keep_vars=True)
    assert all(id(after[key]) == place and torch.equal(after[key], one) for key, (place, one) in before.items())
    assert {key: {*vars(module)} for key, module in model.named_modules()} == attributes
    torch.manual_seed(1)
    with torch.no_grad():
        assert torch.equal(first_of(model(**inputs)), first_of(expected))


@pytest.mark.parametrize("name", FIELDS if [*MODELS] == EVERY else [*FIELDS][::6])
def test_fields_are_what_spoilt_samples_spoil(name):
    """A row, or a column, of the image that holds NaN spoils exactly the outputs that read of it."""
    model, _ = built(name)
    x = torch.randn(1, 3, *FIELDS[name])
    found = trace(model, {"pixel_values": x})
    goal = next(name for name in found.outputs)
    *_, last = propagate(found.network, goal=goal, flags=True)
    with torch.no_grad():
        for axis in (0, 1):
            spoilt = []
            for at in range(x.shape[2 + axis]):
                other = x.clone()
                other.select(2 + axis, at).fill_(float("nan"))
                result = model(pixel_values=other)
                spoilt.append(first_of(result).isnan().numpy())
            told = np.moveaxis(np.broadcast_to(last.field.reads[axis], (*spoilt[0].shape, len(spoilt))), -1, 0)
            assert np.array_equal(told, np.stack(spoilt)), axis


def first_of(result):
    """The first tensor of an answer, as tracing takes them."""
    return next(one for one in torch.utils._pytree.tree_leaves(result) if isinstance(one, torch.Tensor))


@pytest.mark.parametrize("name", ["SegformerForSemanticSegmentation", "UperNetForSemanticSegmentation"])
def test_models_of_others_in_tiles_are_the_whole(name):
    """One attends to keys and values of all places, the other pools all places to grids: both are gathered before."""
    model, x = built(name)[0], torch.randn(1, 3, 96, 128)
    found = in_tiles(model, x, 64, statistics="two-pass")
    with torch.no_grad():
        whole = first_of(model(x))
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-5 * float(whole.abs().max()))


def test_a_model_with_a_token_beside_the_image_is_refused_by_that_layer():
    with pytest.raises(UnsupportedError, match=r"dpt\.embeddings \(cat\): it joins places"):
        TiledModel(built("DPTForSemanticSegmentation")[0], (1, 3, 64, 64), 32, statistics="two-pass")
