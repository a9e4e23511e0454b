"""Which algorithm computes a convolution: expected from counts, or measured and remembered.

machine.py is the one table of what operations take on one machine; cost_model.py makes estimates of it, times factors
measured on the machine at hand. choose.py picks the algorithm of each of the three operations. measure.py runs
algorithms, for their times, their errors and those factors; wisdom.py remembers on disk what was found. plan.py says
all of it: `tc.plan`.

Public through torchconv itself: plan, Plan. The rest is internal.
"""

__all__: list[str] = []
