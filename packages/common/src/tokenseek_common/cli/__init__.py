"""One look for the command lines: options, outcomes, tables, progress and output folders."""

# The names stand in the stub beside this file; each is loaded when it is first used.

import lazy_loader

try:
    import rich as _rich  # noqa: F401 - only looked for here
    import tyro as _tyro  # noqa: F401 - the same
except ImportError as error:
    raise ImportError(
        f'tokenseek_common.cli needs {error.name}: pip install "tokenseek-common[cli]"'
    ) from error

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
