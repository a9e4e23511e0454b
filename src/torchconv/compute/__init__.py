"""How a convolution is computed: one operator, many algorithms, and a plan that chooses among them.

problem.py is what is to be computed, operator.py the one door for every convolution; functional.py is tc.conv and its
two gradients; autograd.py makes algorithms differentiable any number of times, because the three operations of a
convolution are each other's derivatives. algorithms/ has a file for each way to compute, planning/ chooses and
measures, native/ loads the C++ kernels, pooling/ is the same for pooling. Around them: padding.py (borders that
reflect, replicate or wrap), layouts.py (the order of weights and channels; connection tables as grouped convolutions),
weight_cache.py (what is computed from frozen weights), tensors.py (their roles, types and memory, and who traces this
thread), torch_bugs.py.

Public through torchconv itself: conv, conv_input_grad, conv_weight_grad, plan, Plan. The rest is internal.
"""

__all__: list[str] = []
