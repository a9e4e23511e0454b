"""A classifier over every window of larger images at once: fully connected layers as convolutions.

convert        `as_convolution`: follows a model step by step, and puts together what takes its place
places         where the places of the image are in each tensor of the model
rewriting      the steps written anew as calls: what stays, what is refused, by their locality
rules          which operations need a rule of their own: window_rules, channel_rules
sliding_model  the module that makes these calls

All is internal; `as_convolution` is public in torchconv.convert.
"""

__all__: list[str] = []
