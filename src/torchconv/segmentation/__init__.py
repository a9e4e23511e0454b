"""Labels for every place: what turns the scores of a network into a labelling, and what is learned from one.

losses    cross entropy, focal, Dice and Lovasz of scores and labels, with pixels that count for nothing; class weights

Graphical models are to stand here too. Scores are (batch, classes, *size), labels (batch, *size) numbers of classes.
`torchconv.training` trains networks with these losses; everything here works without it. Public are the names below,
as `torchconv.segmentation.*`; they are imported when they are first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .losses import SegmentationLoss as SegmentationLoss, class_weights as class_weights

_PLACES: dict[str, str] = {
    **dict.fromkeys(("SegmentationLoss", "class_weights"), "losses"),
}

if not TYPE_CHECKING:
    __all__ = sorted(_PLACES)
    __getattr__, __dir__ = lazy(__name__, _PLACES)
