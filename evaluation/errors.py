"""What can go wrong in `evaluation` through no fault of the program."""

from __future__ import annotations


class InputError(ValueError):
    """Something given by the user is not usable; the message says what, where, what is allowed and what to do next."""
