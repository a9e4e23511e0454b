"""Labels for every place: what turns the scores of a network into a labelling, and what is learned from one.

Graphical models are to stand here, and losses that are not torch's. Public names are imported when they are first used.
"""

from __future__ import annotations

from ..faces import lazy

_PLACES: dict[str, str] = {}

__all__ = sorted(_PLACES)
__getattr__, __dir__ = lazy(__name__, _PLACES)
