"""Values of a row that must be of a kind."""

from __future__ import annotations

from tokenseek_common._errors import InputError


def text_value(value: object, name: str) -> str:
    """A value that must be text, with its name for the error."""
    if not isinstance(value, str):
        raise InputError(f"{name} ({kind_of(value)}) must be text; write it as a string")
    try:
        value.encode()
    except UnicodeEncodeError:
        # JSON can spell half of a surrogate pair, which no tokenizer accepts.
        raise InputError(
            f"{name} must be valid Unicode; remove the lone surrogates (\\ud800 to \\udfff)"
        ) from None
    return value


def kind_of(value: object) -> str:
    """The JSON name of a value's type, for errors: to quote the value would take a page."""
    if value is None:
        return "null"
    names: dict[type, str] = {
        bool: "true/false",
        int: "number",
        float: "number",
        str: "text",
        list: "list",
        dict: "object",
    }
    return names.get(type(value), type(value).__name__)
