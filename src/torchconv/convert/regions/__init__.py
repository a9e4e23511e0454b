"""A model computed for a part of its output: from exactly what that part reads, with the borders of the whole.

blocks      where the image lies in a tensor, and blocks of it
rules       how one step of a captured program is computed for a block; letters says it for all that is alike everywhere
windows     what slides: convolutions, pooling, padding, slices; columns: windows laid side by side, and back
moves       what moves places: reshaping, pixel shuffles, joining; resizing: interpolation at any factor
statistics  what is gathered of all places in a pass before; reducing: by which steps, and what follows
plan        the steps of a program sorted by that, and the layers that need the whole image; evaluate: runs them

Internal; tiled inference stands on it.
"""

__all__: list[str] = []
