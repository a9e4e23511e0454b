"""Layers of pooling, by what is pooled together.

window_pool      the samples of a window: Pool1d, Pool2d, Pool3d with any statistic; or neighbouring channels:
                 ChannelPool, Maxout
learned_pool     the same with learned weights: LearnedPool
grid_pool        the samples of a cell of a grid, or of all places: GridPool, GlobalPool
cluster_pool     descriptors that are alike: ClusterPool
region_pool      every rectangle of a grid's cells: RegionPool; region_classifier selects the useful ones
advice           `pooling_advice`: whether max or mean separates classes better

All layers are public in torchconv.nn, `pooling_advice` in torchconv.
"""

__all__: list[str] = []
