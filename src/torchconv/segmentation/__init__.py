"""Labels for every place: what turns the scores of a network into a labelling, and what is learned from one.

crf       `CRF`: the scores of a network refined by the image, a conditional random field that is dense within a window
spatial_model   `SpatialModel`: heat maps of parts refined by where parts lie around each other
losses    cross entropy, focal, Dice and Lovasz of scores and labels, with pixels that count for nothing; class weights

Scores are (batch, classes, *size), labels (batch, *size) numbers of classes. `torchconv.training` trains networks with
these losses; everything here works without it. Public are the names below, as `torchconv.segmentation.*`; they are
imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .crf import CRF as CRF
    from .losses import SegmentationLoss as SegmentationLoss, class_weights as class_weights
    from .spatial_model import SpatialModel as SpatialModel

_PLACES: dict[str, str] = {
    "CRF": "crf",
    "SpatialModel": "spatial_model",
    **dict.fromkeys(("SegmentationLoss", "class_weights"), "losses"),
}

if not TYPE_CHECKING:
    __all__ = sorted(_PLACES)
    __getattr__, __dir__ = lazy(__name__, _PLACES)
