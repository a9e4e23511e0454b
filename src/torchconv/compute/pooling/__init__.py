"""How pooling is computed: by the C++ kernels where they are faster, by torch's functions everywhere else.

operator.py is the one door: it checks, prepares for one size, and chooses between the two. autograd.py makes the
kernels differentiable any number of times; torch_backend.py is the same by torch's functions, which every device has,
and which compilers, exporters and vmap follow.

Nothing here is public; tc.nn.Pool1d and its like are.
"""

__all__: list[str] = []
