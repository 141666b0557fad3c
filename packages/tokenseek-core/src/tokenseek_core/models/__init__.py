"""The models that the commands train or judge: found by name, loaded, adapted, made small."""

# The names stand in the stub beside this file; each is loaded when it is first used.

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
