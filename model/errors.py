"""What can go wrong in `model` through no fault of the program."""

from __future__ import annotations


class InputError(ValueError):
    """Something given by the user is not usable; the message says what, what is allowed and what to do next."""


class MisfitError(InputError):
    """This configuration cannot work, though each of its knobs is allowed; another one may."""


class UnreachableError(OSError):
    """Something that should be fetched cannot be reached; the message says how to get it."""


class DivergedError(ArithmeticError):
    """The loss or a gradient stopped being finite. The message says at which step."""
