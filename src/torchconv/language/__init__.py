"""The architecture language: INPUT[32x32x3] - (CONV - RELU)*2 - POOL - FC - SOFTMAX, as networks and torch modules.

parser, grammar.lark  from a text, or a name in the zoo, to an architecture
syntax                what a text says, as values that print it again; errors that point into it
words                 the vocabulary: what each word may say in brackets, with a table of all defaults
semantics             what each word means: the operation that its settings make
architecture          `Architecture`: names bound, repeats written out, branches joined, to a network
network_module        `build`: the torch module of a network
program               what it calls one after another, with loops for what recurs
modules               the layers of texts that neither torch nor `nn` has
zoo/                  well-known networks as texts

Public are `parse`, `build` and `Architecture`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..faces import lazy

if TYPE_CHECKING:
    from .architecture import Architecture
    from .network_module import NetworkModule, build
    from .parser import parse

_PLACES = {
    "Architecture": "architecture",
    "NetworkModule": "network_module",
    "build": "network_module",
    "parse": "parser",
}
__all__ = ["Architecture", "NetworkModule", "build", "parse"]

__getattr__, __dir__ = lazy(__name__, _PLACES)
