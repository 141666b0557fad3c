"""Prototypes as motion learners: optical flow and depth from one model."""

# The names stand in the stub beside this file; each is loaded when it is first used.

from importlib.metadata import version

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ += ["__version__"]

__version__ = version("promotion-flow")
