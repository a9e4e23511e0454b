"""Looking at models: tables of their layers, receptive fields, and measurements on images.

network_of       whatever is looked at, as a network: a torch module, a text, a name in the zoo, an exported program
report, rows     `inspect`: a table of a model, one row for each layer
receptive_field  `receptive_field`: exact, and the box of every element
effective_field  `effective_field`: how much each input sample matters, measured
equivariance     `equivariance`: whether a model moves along with its input, measured; motions: what moves the input

Public are the doors, which `torchconv` has too, what they answer, and the motions.
"""

from .effective_field import EffectiveField, effective_field
from .equivariance import Border, Difference, Equivariance, equivariance
from .motions import Rotation, Scale, Transform, Translation
from .receptive_field import Box, ReceptiveField, receptive_field
from .report import Report, inspect
from .rows import LayerRow

__all__ = [
    "Border",
    "Box",
    "Difference",
    "EffectiveField",
    "Equivariance",
    "LayerRow",
    "ReceptiveField",
    "Report",
    "Rotation",
    "Scale",
    "Transform",
    "Translation",
    "effective_field",
    "equivariance",
    "inspect",
    "receptive_field",
]
