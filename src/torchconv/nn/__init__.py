"""Layers, under torch.nn's names where torch has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .conv import Conv, Conv1d, Conv2d, Conv3d
    from .dense import Dense
    from .local import LocallyConnected1d, LocallyConnected2d, LocallyConnected3d, TiledConv1d, TiledConv2d, TiledConv3d
    from .pooling.channel_pool import ChannelPool, Maxout
    from .pooling.cluster_pool import ClusterPool1d, ClusterPool2d, ClusterPool3d
    from .pooling.grid_pool import GlobalPool, GridPool1d, GridPool2d, GridPool3d
    from .pooling.learned_pool import LearnedPool1d, LearnedPool2d, LearnedPool3d
    from .pooling.region_classifier import RegionClassifier
    from .pooling.region_pool import RegionPool1d, RegionPool2d, RegionPool3d
    from .pooling.window_pool import Pool, Pool1d, Pool2d, Pool3d
    from .transposed import ConvTranspose1d, ConvTranspose2d, ConvTranspose3d

_PLACES = {
    "ChannelPool": "pooling.channel_pool",
    "ClusterPool1d": "pooling.cluster_pool",
    "ClusterPool2d": "pooling.cluster_pool",
    "ClusterPool3d": "pooling.cluster_pool",
    "Conv": "conv",
    "Conv1d": "conv",
    "Conv2d": "conv",
    "Conv3d": "conv",
    "ConvTranspose1d": "transposed",
    "ConvTranspose2d": "transposed",
    "ConvTranspose3d": "transposed",
    "Dense": "dense",
    "GlobalPool": "pooling.grid_pool",
    "GridPool1d": "pooling.grid_pool",
    "GridPool2d": "pooling.grid_pool",
    "GridPool3d": "pooling.grid_pool",
    "LearnedPool1d": "pooling.learned_pool",
    "LearnedPool2d": "pooling.learned_pool",
    "LearnedPool3d": "pooling.learned_pool",
    "LocallyConnected1d": "local",
    "LocallyConnected2d": "local",
    "LocallyConnected3d": "local",
    "Maxout": "pooling.channel_pool",
    "Pool": "pooling.window_pool",
    "Pool1d": "pooling.window_pool",
    "Pool2d": "pooling.window_pool",
    "Pool3d": "pooling.window_pool",
    "RegionClassifier": "pooling.region_classifier",
    "RegionPool1d": "pooling.region_pool",
    "RegionPool2d": "pooling.region_pool",
    "RegionPool3d": "pooling.region_pool",
    "TiledConv1d": "local",
    "TiledConv2d": "local",
    "TiledConv3d": "local",
}

__all__ = [
    "ChannelPool",
    "ClusterPool1d",
    "ClusterPool2d",
    "ClusterPool3d",
    "Conv",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "ConvTranspose1d",
    "ConvTranspose2d",
    "ConvTranspose3d",
    "Dense",
    "GlobalPool",
    "GridPool1d",
    "GridPool2d",
    "GridPool3d",
    "LearnedPool1d",
    "LearnedPool2d",
    "LearnedPool3d",
    "LocallyConnected1d",
    "LocallyConnected2d",
    "LocallyConnected3d",
    "Maxout",
    "Pool",
    "Pool1d",
    "Pool2d",
    "Pool3d",
    "RegionClassifier",
    "RegionPool1d",
    "RegionPool2d",
    "RegionPool3d",
    "TiledConv1d",
    "TiledConv2d",
    "TiledConv3d",
]

__getattr__, __dir__ = lazy(__name__, _PLACES)
