"""The name of the method in PEFT, whose list of methods has no public way in."""

from __future__ import annotations

from peft import PeftType


def _member(name: str) -> PeftType:
    """Add a member to PEFT's enumeration of methods, as the class statement would have.

    PEFT asks the enumeration by value, by attribute and by iteration; each has a table of its own.
    """
    member = str.__new__(PeftType, name)
    member._name_ = name
    member._value_ = name
    member.__objclass__ = PeftType  # type: ignore[attr-defined]
    member._sort_order_ = len(PeftType)  # type: ignore[attr-defined]
    PeftType._member_names_.append(name)
    PeftType._member_map_[name] = member
    PeftType._value2member_map_[name] = member
    type.__setattr__(PeftType, name, member)
    return member


MEPT = _member("MEPT")
