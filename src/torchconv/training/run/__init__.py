"""The run folder, in which a training keeps all that it comes to; all of it internal.

`run_folder`  what is in it, and reading it: `load` gives a trained network, `Description` what was to be trained
`new_run`     making and writing one: every file is there whole or not at all, and one program writes at a time
`keep`        what is kept after every epoch: checkpoint, best weights, metrics, logs; killed at any moment, a training
              goes on from there to the same bits
"""

__all__: list[str] = []
