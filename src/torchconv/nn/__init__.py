"""Layers, with torch.nn's names and arguments where torch has them; state_dicts can be exchanged there.

conv, transposed   convolutions of every weight sharing, whose shapes may come with the first input
local              tiled, locally connected and, between two volumes, fully connected layers
pooling/           pooling over windows, grids, channels, learned clusters and regions

Public are the layers below. They are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .conv import Conv as Conv, Conv1d as Conv1d, Conv2d as Conv2d, Conv3d as Conv3d
    from .local import (
        Dense as Dense,
        LocallyConnected1d as LocallyConnected1d,
        LocallyConnected2d as LocallyConnected2d,
        LocallyConnected3d as LocallyConnected3d,
        TiledConv1d as TiledConv1d,
        TiledConv2d as TiledConv2d,
        TiledConv3d as TiledConv3d,
    )
    from .pooling.cluster_pool import (
        ClusterPool1d as ClusterPool1d,
        ClusterPool2d as ClusterPool2d,
        ClusterPool3d as ClusterPool3d,
    )
    from .pooling.grid_pool import (
        GlobalPool as GlobalPool,
        GridPool1d as GridPool1d,
        GridPool2d as GridPool2d,
        GridPool3d as GridPool3d,
    )
    from .pooling.learned_pool import (
        LearnedPool1d as LearnedPool1d,
        LearnedPool2d as LearnedPool2d,
        LearnedPool3d as LearnedPool3d,
    )
    from .pooling.region_classifier import RegionClassifier as RegionClassifier
    from .pooling.region_pool import (
        RegionPool1d as RegionPool1d,
        RegionPool2d as RegionPool2d,
        RegionPool3d as RegionPool3d,
    )
    from .pooling.window_pool import (
        ChannelPool as ChannelPool,
        Maxout as Maxout,
        Pool as Pool,
        Pool1d as Pool1d,
        Pool2d as Pool2d,
        Pool3d as Pool3d,
    )
    from .transposed import (
        ConvTranspose1d as ConvTranspose1d,
        ConvTranspose2d as ConvTranspose2d,
        ConvTranspose3d as ConvTranspose3d,
    )

_NAMES = {
    "conv": "Conv Conv1d Conv2d Conv3d",
    "local": "Dense LocallyConnected1d LocallyConnected2d LocallyConnected3d TiledConv1d TiledConv2d TiledConv3d",
    "pooling.cluster_pool": "ClusterPool1d ClusterPool2d ClusterPool3d",
    "pooling.grid_pool": "GlobalPool GridPool1d GridPool2d GridPool3d",
    "pooling.learned_pool": "LearnedPool1d LearnedPool2d LearnedPool3d",
    "pooling.region_classifier": "RegionClassifier",
    "pooling.region_pool": "RegionPool1d RegionPool2d RegionPool3d",
    "pooling.window_pool": "ChannelPool Maxout Pool Pool1d Pool2d Pool3d",
    "transposed": "ConvTranspose1d ConvTranspose2d ConvTranspose3d",
}
_PLACES = {name: place for place, names in _NAMES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker reads the imports above, which say the same
    __all__ = sorted(_PLACES)
    __getattr__, __dir__ = lazy(__name__, _PLACES)
