"""The binding to PEFT: prompted blocks as tuner layers, saved, loaded and switched by it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, check_target_module_exists
from peft.utils import ModulesToSaveWrapper, register_peft_method
from torch import nn

from mept._attach import ATTRIBUTE, Attached
from mept._config import MeptConfig
from mept._families import block_names, family_of
from mept._initial import Start, starts
from mept._layer import PromptedBlock
from tokenseek_common import InputError


class MeptLayer(PromptedBlock, BaseTunerLayer):
    """A block with the prompts of one adapter or more."""

    adapter_layer_names = ("mept_router", "mept_router_scale", "mept_experts", "mept_shared")
    other_param_names = ("mept_router_mean",)

    @property
    def active(self) -> str | None:
        """The adapter in use, if it has prompts for this block."""
        if self.disable_adapters:
            return None
        return next((name for name in self.active_adapters if name in self.mept_experts), None)


class MeptModel(BaseTuner):
    """Mixture of expert prompt tuning on a model of transformers; `get_peft_model` makes one."""

    prefix = "mept_"
    tuner_layer_cls = MeptLayer
    _are_off = False
    _resting: list[nn.Parameter]

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        """Find the blocks, before anything is changed, and the head."""
        family = family_of(self.model)
        names = block_names(self.model, family)
        made_for = {
            "model_type": model_config["model_type"],
            "layers": len(names),
            "hidden_size": self.model.config.hidden_size,
        }
        _check_made_for(peft_config.required, made_for)
        peft_config.made_for = made_for
        self.chosen = _chosen_blocks(peft_config, names)
        blocks = {name: self.model.get_submodule(name) for name in self.chosen}
        _add_head(peft_config, self.model)
        _check_modules_to_save(peft_config, blocks)
        if peft_config.num_experts == 1 and not peft_config.inference_mode:
            warnings.warn(
                "num_experts (1) leaves the router no choice, so that it is trained for nothing; "
                "raise num_experts, unless all inputs are meant to get the same rows",
                stacklevel=2,
            )
        lonely = peft_config.top_k == 1 and peft_config.num_experts > 1
        if family.pre_norm and lonely and not peft_config.shared_expert:
            warnings.warn(
                "top_k (1) without a shared expert teaches the router next to nothing in a "
                f"pre-norm model ({model_config['model_type']}), whose norms take the gate away; "
                "use shared_expert=True or top_k=2",
                stacklevel=2,
            )
        return peft_config

    def _prepare_model(self, peft_config: Any, model: Any) -> None:
        """Read off the model what prompts start from, and attach the hooks, once."""
        attached = vars(model).get(ATTRIBUTE)
        with attached.current.bare() if attached else nullcontext():
            found = starts(model, family_of(model), peft_config)
        self.starts = {name: start for name, start in found.items() if name in self.chosen}
        if attached is None:
            Attached(model, family_of(model))

    def _check_target_module_exists(  # type: ignore[override]
        self, peft_config: Any, key: str
    ) -> bool:
        """Say whether a module is one of the blocks."""
        return key in self.chosen

    def _create_and_replace(
        self,
        peft_config: Any,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,
    ) -> None:
        """Wrap a block, or give one that is wrapped further prompts."""
        layer = target
        if not isinstance(layer, MeptLayer):
            layer = MeptLayer(target, vars(self.model)[ATTRIBUTE].current, current_key)
            self._replace_module(parent, target_name, layer, target)
        hidden_size = self.model.config.hidden_size
        start = self.starts.pop(current_key, Start())
        layer.add_prompts(adapter_name, peft_config, hidden_size, start)
        if adapter_name not in self.active_adapters:
            for kind in layer.adapter_layer_names:
                if adapter_name in (prompts := getattr(layer, kind)):
                    prompts[adapter_name].requires_grad_(False)

    def _replace_module(
        self, parent: nn.Module, child_name: str, new_module: nn.Module, child: nn.Module
    ) -> None:
        """Put a wrapper in place of a block, or back; blocks have no weight for PEFT to copy."""
        new_module.train(child.training)
        setattr(parent, child_name, new_module)

    def _check_merge_allowed(self) -> None:
        """Refuse to merge."""
        raise InputError(
            f"model ({type(self.model).__name__}) must not be merged, its weights have no place "
            "for rows that depend on the input; keep the adapter, or take it off by unload()"
        )

    def disable_adapter_layers(self) -> None:
        """Switch the prompts off, and note which tensors were being trained."""
        if not self._are_off:
            self._resting = [p for p in self.parameters() if not p.requires_grad]
            self._are_off = True
        super().disable_adapter_layers()

    def enable_adapter_layers(self) -> None:
        """Switch the prompts on; PEFT would train those too that were only in use."""
        super().enable_adapter_layers()
        if self._are_off:
            for parameter in self._resting:
                parameter.requires_grad_(False)
            self._resting, self._are_off = [], False

    def unload(self) -> nn.Module:
        """Give back the base model, as it was, its own head too."""
        for name, module in list(self.model.named_modules()):
            if isinstance(module, ModulesToSaveWrapper):
                parent, _, child = name.rpartition(".")
                setattr(self.model.get_submodule(parent), child, module.original_module)
        model = super().unload()
        vars(model)[ATTRIBUTE].remove(model)
        return model

    def set_adapter(self, adapter_name: str | list[str], inference_mode: bool = False) -> None:
        """Use the prompts of an adapter.

        Raises:
            InputError: There are several, and one place for their rows.
        """
        if not isinstance(adapter_name, str) and len(adapter_name) > 1:
            raise InputError(
                f"adapter_name ({', '.join(adapter_name)}) must be one adapter, there is one place "
                "for prompt rows; choose one"
            )
        super().set_adapter(adapter_name, inference_mode)

    @contextmanager
    def _enable_peft_forward_hooks(self, *args: Any, **kwargs: Any) -> Iterator[None]:
        """Give each input of a batch the prompts and the head of its own adapter.

        Raises:
            InputError: `adapter_names` are given in training, are not all there, or differ in what
                a batch has but one of.
        """
        names = kwargs.get("adapter_names")
        if names is None:
            yield
            return
        heads = [m for m in self.modules() if isinstance(m, ModulesToSaveWrapper)]
        self._check_mixed(tuple(names), heads)

        def told(module: nn.Module, given: Any, settings: dict[str, Any]) -> Any:
            return given, settings | {"adapter_names": list(names)}

        handles = [m.register_forward_pre_hook(told, with_kwargs=True) for m in heads]
        try:
            with vars(self.model)[ATTRIBUTE].current.mixed(tuple(names)):
                yield
        finally:
            for handle in handles:
                handle.remove()

    def _check_mixed(self, names: tuple[str, ...], heads: list[ModulesToSaveWrapper]) -> None:
        """Refuse adapters that one batch cannot have.

        Raises:
            InputError: See `_enable_peft_forward_hooks`.
        """
        given = ", ".join(dict.fromkeys(names))
        unknown = [name for name in dict.fromkeys(names) if name not in self.peft_config]
        if unknown or not names:
            raise InputError(
                f"adapter_names ({', '.join(unknown) or 'none'}) must be of "
                f"{', '.join(self.peft_config)}; load them first, and run inputs without prompts "
                "under disable_adapter"
            )
        if self.training:
            raise InputError(
                f"adapter_names ({given}) must be left out in training, where losses of routers "
                "are of one adapter; call eval(), or train them one after the other"
            )
        large = [m.original_module for m in heads if any(m.original_module.children())]
        if large:
            raise InputError(
                f"adapter_names ({given}) must be left out with a head of several modules "
                f"({type(large[0]).__name__}), which PEFT runs for one adapter; choose it by "
                "set_adapter"
            )
        for field in _OF_A_BATCH:
            found = [getattr(self.peft_config[name], field) for name in dict.fromkeys(names)]
            if any(value != found[0] for value in found):
                raise InputError(
                    f"adapter_names ({given}) must have one {field} in a batch "
                    f"({', '.join(map(str, found))}); run them in batches of their own"
                )


_OF_A_BATCH = ("num_virtual_tokens", "routing_scope", "legacy_pool", "cross_attend_prompts")
"""Settings that decide on masks and positions of a whole batch."""


def _chosen_blocks(config: MeptConfig, names: list[str]) -> set[str]:
    """The blocks that a config names.

    Raises:
        InputError: There is no such block, or the first is not among them.
    """
    if config.target_modules is not None:
        chosen = {name for name in names if check_target_module_exists(config, name)}
        if names[0] not in chosen:
            raise InputError(
                f"target_modules ({config.target_modules}) must contain {names[0]}, the first "
                "layer, whose rows the others carry on; add it"
            )
        return chosen
    layers = range(len(names)) if config.layers is None else config.layers
    outside = [layer for layer in layers if not 0 <= layer < len(names)]
    if outside:
        raise InputError(
            f"layers ({outside}) must be from 0 to {len(names) - 1}, the model has {len(names)}; "
            "leave them out"
        )
    return {names[layer] for layer in layers}


def _check_made_for(required: dict[str, Any] | None, found: dict[str, Any]) -> None:
    """Refuse a model that loaded prompts were not made for.

    Raises:
        InputError: It is of another type, or has more or fewer layers, or wider ones.
    """
    if required is not None and required != found:
        wanted, had = (
            f"{each.get('model_type')}, {each.get('layers')} layers of width "
            f"{each.get('hidden_size')}"
            for each in (required, found)
        )
        raise InputError(
            f"model ({had}) must be like the one that the prompts were made for ({wanted}); load "
            "them on that one"
        )


def _add_head(config: MeptConfig, model: nn.Module) -> None:
    """Train and save the head of a classifier that PEFT does not know by name: T5's, BART's."""
    if config.task_type == "SEQ_CLS" and hasattr(model, _HEAD):
        config.modules_to_save = list(dict.fromkeys([*(config.modules_to_save or ()), _HEAD]))


_HEAD = "classification_head"


def _check_modules_to_save(config: MeptConfig, blocks: dict[str, nn.Module]) -> None:
    """Refuse parts of a block that PEFT cannot take out of one that is wrapped.

    Raises:
        InputError: There are some.
    """
    for name, block in blocks.items():
        whole = block.base_layer if isinstance(block, MeptLayer) else block
        parts = [f"{name}.{part}" for part, _ in whole.named_children()]
        for wanted in config.modules_to_save or ():
            if any(part.endswith(wanted) for part in [name, *parts]):
                raise InputError(
                    f"modules_to_save ({wanted}) must not be a whole part of a layer that gets "
                    "prompts; name modules inside it, such as mlp.down_proj, or outside the layers"
                )


register_peft_method(name="mept", config_cls=MeptConfig, model_cls=MeptModel, prefix="mept_")
