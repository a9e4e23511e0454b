"""The command line: one file for each command, and no torch before a command has begun its work.

`app.main` is what `torchconv` and `python -m torchconv` run; nothing else is public. It turns what goes wrong into one
message and an exit status.

`train` `evaluate` `predict` `inspect` `plan` `tune` `doctor`   a command each: its options, and what it prints
`output`   options that commands share, and how tables and JSON are printed
"""

__all__: list[str] = []
