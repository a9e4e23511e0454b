"""One family of errors: each message says what is wrong, what was got, what was expected, and how to mend it."""

from __future__ import annotations


class TorchconvError(ValueError):
    """Base of every error that torchconv raises on purpose.

    >>> str(TorchconvError("stride of axis 0", got=0, expected="an integer >= 1", fix="Use stride=1."))
    'stride of axis 0: got 0, expected an integer >= 1. Use stride=1.'

    where: a place, shown on lines of its own below the message.
    """

    def __init__(
        self, what: str, *, got: object = None, expected: object = None, fix: str = "", where: object = None
    ) -> None:
        parts = []
        if got is not None:
            parts.append(f"got {got}")
        if expected is not None:
            parts.append(f"expected {expected}")
        message = what + (": " + ", ".join(parts) if parts else "")
        if fix:
            message += f" {fix}" if message.endswith((".", "?")) else f". {fix}"
        super().__init__(message if where is None else f"{message}\n{where}")
        self.what, self.got, self.expected, self.fix, self.where = what, got, expected, fix, where

    def __reduce__(self):  # keyword-only arguments are lost by the default, and workers send errors by pickle
        return _rebuild, (type(self), self.what, self.got, self.expected, self.fix, self.where)


class SettingError(TorchconvError):
    """A setting has a value it cannot have."""


class ShapeError(TorchconvError):
    """Sizes that do not fit together."""


class TextError(TorchconvError):
    """An architecture text that cannot be read, with the line and a caret under the column."""


class DataError(TorchconvError):
    """Images, folders, runs or weights that cannot be used."""


class UnsupportedError(TorchconvError):
    """A request that is meaningful, but that the chosen algorithm declines, with its reason."""


class IntegerOverflowError(TorchconvError, OverflowError):
    """An exact result that the type of the integers cannot hold."""


def _rebuild(
    kind: type[TorchconvError], what: str, got: object, expected: object, fix: str, where: object
) -> TorchconvError:
    return kind(what, got=got, expected=expected, fix=fix, where=where)
