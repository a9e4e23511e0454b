"""Layers, under torch.nn's names where torch has them."""

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
