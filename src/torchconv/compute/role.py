"""The three tensors of a convolution: each operation is named by the one it gives, and takes the other two in order."""

from __future__ import annotations

INPUT, WEIGHT, OUTPUT = "input", "weight", "output"
OPERANDS = {OUTPUT: (INPUT, WEIGHT), INPUT: (OUTPUT, WEIGHT), WEIGHT: (INPUT, OUTPUT)}
