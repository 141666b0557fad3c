"""The two ways in which a run can fail that a user can do something about."""

from __future__ import annotations


class InputError(ValueError):
    """What the user gave cannot be used: a file, an option, a field of a record.

    Its text is one sentence, ``<field> (<value>) must <rule>; <how to mend it>``. A command line
    prints it and leaves with exit code 2.

    Example:
        >>> raise InputError("seed (-1) must be at least 0; choose another --seed")
        Traceback (most recent call last):
        tokenseek_common._errors.InputError: seed (-1) must be at least 0; choose another --seed
    """


class RunError(RuntimeError):
    """The input was fine and the run failed all the same, for a reason that can be told.

    Its text is one sentence. A command line prints it and leaves with exit code 1.

    Example:
        >>> raise RunError("loss (nan) must be finite; lower the learning rate")
        Traceback (most recent call last):
        tokenseek_common._errors.RunError: loss (nan) must be finite; lower the learning rate
    """
