"""Networks: descriptions in an immutable graph, from which everything about an architecture is computed. No torch.

graph        `Network`: nodes in order, volumes, parameters and multiply-accumulates by folding over them
base         `Operation`: what every operation has to say; `Volume`, `Locality`; operations seen in a model
operations   convolution, up-sampling, fully connected layers, activations, norms
branches     volumes that meet: sums, concatenations, cuts
recurrence   nodes that come several times with the same weights
pooling      windows, channels, grids, clusters, regions, everything at once
mean_field   a conditional random field over scores and their image
propagation  receptive fields followed from the input, or any node, through the graph

Public are the network and its parts. Texts become networks in `torchconv.language`, torch modules in
`torchconv.tracing`.
"""

from .base import Locality, Operation, Volume
from .branches import Concat, Crop, Sum
from .graph import Network, Node, chain
from .operations import (
    Activation,
    Convolve,
    Dropout,
    FullyConnected,
    Input,
    Norm,
    ScaleChannels,
    ShufflePixels,
    Softmax,
    Upsample,
)
from .pooling import PoolAll, PoolChannels, PoolGrid, PoolLearned, PoolWindows

__all__ = [
    "Activation",
    "Concat",
    "Convolve",
    "Crop",
    "Dropout",
    "FullyConnected",
    "Input",
    "Locality",
    "Network",
    "Node",
    "Norm",
    "Operation",
    "PoolAll",
    "PoolChannels",
    "PoolGrid",
    "PoolLearned",
    "PoolWindows",
    "ScaleChannels",
    "ShufflePixels",
    "Softmax",
    "Sum",
    "Upsample",
    "Volume",
    "chain",
]
