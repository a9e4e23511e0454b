"""A module made into another that computes the same, or the nearest that can be had.

equivalent     the layer of torchconv that is equivalent to one of torch.nn, on the same parameters
prior          `widen`, `narrow`, `as_linear`: the same layer with looser or tighter ties; `PriorPenalty` between them
projections    orthogonal projections from loosely tied weights to tightly tied ones
sliding/       `as_convolution`: a classifier that scores every window of larger images
tiled/         `tiled`: a model on images of any size, tile by tile, with the result of the whole
model_tuning   `tune`: planned layers where they make the whole model faster; run_model leaves models unchanged

Public are these six, which are torchconv's too; `tiled` is torchconv's alone, as its folder has its name here.
"""

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .model_tuning import tune as tune
    from .prior import PriorPenalty as PriorPenalty, as_linear as as_linear, narrow as narrow, widen as widen
    from .sliding.convert import as_convolution as as_convolution

_PLACES = {
    **dict.fromkeys(("PriorPenalty", "as_linear", "narrow", "widen"), "prior"),
    "as_convolution": "sliding.convert",
    "tune": "model_tuning",
}

if not TYPE_CHECKING:
    __all__ = sorted(_PLACES)
    __getattr__, __dir__ = lazy(__name__, _PLACES)
