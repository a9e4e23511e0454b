"""The command `torchconv plan`."""

from __future__ import annotations

from typing import Annotated

import typer


def plan(
    text: Annotated[str, typer.Argument(metavar="CONVOLUTION", help='As in "64->64, 31x31, padding=15, groups=64".')],
    input: Annotated[str, typer.Option(metavar="BxCxHxW", help="The shape of the input: batch, channels and size.")],
    dtype: Annotated[str, typer.Option(metavar="float32|float64|bfloat16", help="Type of the numbers.")] = "float32",
    precision: Annotated[str, typer.Option(metavar="auto|fast|bf16", help="How exact it must be.")] = "auto",
    workspace: Annotated[
        int | None,
        typer.Option(
            min=0, metavar="BYTES", help="Memory beside the arrays. [default: 4 times theirs, at least 16 MiB]"
        ),
    ] = None,
    measure: Annotated[bool, typer.Option("--measure", help="Run the promising ways, and remember the best.")] = False,
) -> None:
    """Print how a convolution will be computed: every algorithm with what it takes, or why it declines.

    torchconv plan "64->64, 31x31, padding=15, groups=64" --input 8x64x56x56

    torchconv plan "1->1, 1024" --input 8x1x96000 --measure
    """
    from ..compute.planning.plan import plan_of_texts

    typer.echo(plan_of_texts(text, input, dtype, precision, measure, workspace).explain())
