"""The models that the commands train or judge: found by name, loaded, adapted, made small."""

from tokenseek_core.models._config_source import load_config
from tokenseek_core.models._pretrained import load_pretrained
from tokenseek_core.models._supported import Support, supported
from tokenseek_core.models._verdict import Verdict

__all__ = ["Support", "Verdict", "load_config", "load_pretrained", "supported"]
