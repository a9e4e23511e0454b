"""Colours: one for each kernel, by its phase, and lighter ones for its weights."""

from __future__ import annotations

import colorsys

INPUT, PADDING, ZERO, WINDOW, PLAIN = "#cfe2f3", "#f0f0f0", "#fbfbfb", "#222222", "#dddddd"
GOLDEN = 0.618034  # of a turn from one hue to the next: neighbours are never alike


def hue(number: int, light: float = 0.72) -> str:
    """The colour of a number; the same on every machine.

    >>> hue(0), hue(1) != hue(2)
    ('#eb8484', True)
    """
    red, green, blue = colorsys.hls_to_rgb(number * GOLDEN % 1, light, 0.72)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
