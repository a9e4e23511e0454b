"""Any torch module as a network, by watching it run.

`trace` runs a copy of a model without numbers and gives the network; `trace_values` runs it on numbers and tells a
sink of every node and its tensor. `program` writes a run's calls down so that they can be run again, one by one too.
`model_copy` makes the copy, so that a look changes nothing of the model, and says
which of its modules is being called; `recorder` is the mode of torch's dispatcher that sees every operator; `aten`
knows what the operators do. All of it keeps to its own thread: others may run the same model, or look at it, meanwhile.
Internal; `inspect`, `receptive_field` and the drawings stand on it.
"""

__all__: list[str] = []
