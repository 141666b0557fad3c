"""Look at what TokenSeek does: steps measured side by side, and texts token by token."""

# The names stand in the stub beside this file; a console is loaded with those that tell something.

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
