"""Receptive fields: which input samples an element of a tensor depends on, exactly. No torch.

periodic  along an axis without ends: intervals that repeat, from which size, stride and padding of a field follow
access    access patterns: which input elements each output element of one operation reads
field     fields followed through access patterns, for every element of a tensor, borders included

An operation of a network says its access pattern; `network.propagation` follows fields through a whole network, and
`torchconv.receptive_field` shows them. Source: Araujo, Norris, Sim 2019, Computing receptive fields of convolutional
neural networks (Distill). Nothing here is public.
"""

__all__: list[str] = []
