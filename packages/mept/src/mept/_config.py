"""What a user chooses: the config of the method, as PEFT loads and saves it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from peft import PeftConfig

from mept._peft_type import MEPT
from tokenseek_common import InputError

Router = Literal["cosine", "linear"]
RouterInit = Literal["kmeans", "orthogonal"]
Normalize = Literal["none", "sum"]
Scope = Literal["auto", "all"]
Init = Literal["normal", "xavier", "vocab", "hidden"]


@dataclass
class MeptConfig(PeftConfig):
    """The settings of mixture of expert prompt tuning.

    PEFT's own fields (`task_type`, `inference_mode`, ...) come with it.

    Raises:
        InputError: A value is outside its range.

    Example:
        >>> MeptConfig(task_type="SEQ_CLS", num_virtual_tokens=5, num_experts=8, top_k=2).top_k
        2
    """

    num_virtual_tokens: int = field(
        default=10, metadata={"help": "prompt rows in front of the tokens of every layer"}
    )
    num_experts: int = field(default=4, metadata={"help": "routed experts of every layer"})
    top_k: int = field(default=1, metadata={"help": "experts that an input is routed to"})
    shared_expert: bool = field(
        default=True,
        metadata={
            "help": "add rows that are the same for every input; in pre-norm models top_k=1 needs "
            "them, since the norm takes a single gate away and the router learns nothing"
        },
    )
    layers: list[int] | None = field(
        default=None,
        metadata={
            "help": "layers with experts of their own, the first among them; others carry on the "
            "rows of the layer before; None is all"
        },
    )
    router: Router | None = field(
        default=None,
        metadata={
            "help": "cosine has scaled cosines of router rows and pooled tokens as logits, linear "
            "their products, as the paper; None is cosine, and linear where init is hidden or a "
            "config was saved before there was a choice"
        },
    )
    router_init: RouterInit | None = field(
        default=None,
        metadata={
            "help": "how the rows of routers start; kmeans puts them at centroids of what they "
            "read, once `mept.fit_routers` is called; orthogonal leaves them random; None is "
            "kmeans for cosine routers of several experts"
        },
    )
    router_noise: float = field(
        default=0.0, metadata={"help": "relative noise on the router's logits in training"}
    )
    gumbel: bool = field(
        default=False, metadata={"help": "draw the experts in training by the Gumbel-max trick"}
    )
    gate_normalize: Normalize = field(
        default="none", metadata={"help": "sum lets the gates of an input sum to one"}
    )
    routing_scope: Scope = field(
        default="auto",
        metadata={
            "help": "auto lets routers of language models see what comes before the first label; "
            "all shows them every real token, also those to be predicted"
        },
    )
    routing_prefix: float = field(
        default=0.0,
        metadata={
            "help": "share of a text that is all to be predicted which is its prompt, seen by the "
            "routers and not learnt; 0 lets them see its first token alone"
        },
    )
    cross_attend_prompts: bool = field(
        default=True,
        metadata={"help": "let the decoder of an encoder-decoder see the encoder's prompt rows"},
    )
    aux_loss_coef: float = field(
        default=0.0, metadata={"help": "weight of the load-balancing loss in training"}
    )
    z_loss_coef: float = field(
        default=0.0, metadata={"help": "weight of the loss on large router logits in training"}
    )
    init: Init = field(
        default="normal",
        metadata={
            "help": "how prompts start; vocab takes token embeddings for the experts of the first "
            "layer; hidden takes what the model makes of random tokens in every layer, for "
            "decoders, at learning rates about 0.1"
        },
    )
    init_std: float = field(
        default=0.02, metadata={"help": "standard deviation of the normal initial values"}
    )
    prompt_dropout: float = field(
        default=0.0, metadata={"help": "dropout on the prompt rows in training"}
    )
    legacy_pool: bool = field(
        default=False,
        metadata={
            "help": "pool as the paper's code does: padding counts where the router may look, and "
            "so do the prompt rows in the divisor"
        },
    )
    target_modules: list[str] | str | None = field(
        default=None, metadata={"help": "names of the layers, in place of `layers`"}
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "other modules to train and save, such as a head"}
    )

    made_for: dict[str, str | int] | None = field(
        default=None,
        metadata={
            "help": "type, layers and width of the model that the prompts were made for, which is "
            "written beside them and checked when they are loaded"
        },
    )

    def __post_init__(self) -> None:
        if self.router is None:  # PEFT has always written its version to files
            is_new = self.peft_version is None
            self.router = "cosine" if is_new and self.init != "hidden" else "linear"
        if self.router_init is None:
            has_choice = self.router == "cosine" and self.num_experts != 1
            self.router_init = "kmeans" if has_choice else "orthogonal"
        super().__post_init__()  # type: ignore[no-untyped-call]
        self.peft_type = MEPT
        self.required = self.made_for  # that of a folder; a config may be used again for another
        self._check_numbers()
        self._check_layers()
        if not 1 <= self.top_k <= self.num_experts:
            raise InputError(
                f"top_k ({self.top_k}) must be from 1 to num_experts ({self.num_experts}); "
                "num_experts takes all"
            )
        for name, choice in (
            ("router", Router),
            ("router_init", RouterInit),
            ("gate_normalize", Normalize),
            ("routing_scope", Scope),
            ("init", Init),
        ):
            first, *others = get_args(choice)
            if getattr(self, name) not in (first, *others):
                raise InputError(
                    f"{name} ({getattr(self, name)}) must be {' or '.join((first, *others))}; "
                    f"{first} is the default"
                )
        if self.router_init == "kmeans" and self.router == "linear":
            raise InputError(
                "router_init (kmeans) must be orthogonal where router is linear, only cosines are "
                "largest with the nearest centroid; choose router='cosine'"
            )
        if self.gate_normalize == "sum" and self.top_k == 1:
            raise InputError(
                "gate_normalize (sum) must be none where top_k is 1, a gate of always 1 would "
                "teach the router nothing; raise top_k"
            )

    def _check_numbers(self) -> None:
        """Refuse what is no number, or outside its range; JSON holds NaN and text as well."""
        for name in ("num_virtual_tokens", "num_experts", "top_k"):
            _require_whole(name, getattr(self, name))
        for name in ("num_virtual_tokens", "num_experts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} ({getattr(self, name)}) must be at least 1; raise it")
        for name in ("router_noise", "aux_loss_coef", "z_loss_coef"):
            value = getattr(self, name)
            if not _is_finite(value) or value < 0:
                raise InputError(
                    f"{name} ({value!r}) must be a finite number, at least 0; 0 is none"
                )
        if not _is_finite(self.init_std) or self.init_std <= 0:
            raise InputError(
                f"init_std ({self.init_std!r}) must be a finite number above 0; 0.02 is usual"
            )
        for name in ("prompt_dropout", "routing_prefix"):
            share = getattr(self, name)
            if not _is_finite(share) or not 0 <= share < 1:
                raise InputError(f"{name} ({share!r}) must be a number in [0, 1); 0 is none")

    def _check_layers(self) -> None:
        """Refuse layers that are no indices, or are chosen twice over."""
        if self.layers is None:
            return
        if not isinstance(self.layers, list | tuple) or not all(map(_is_whole, self.layers)):
            raise InputError(
                f"layers ({self.layers!r}) must be a list of whole numbers; "
                "write [0, 1] for the first two"
            )
        if 0 not in self.layers:
            raise InputError(
                f"layers ({self.layers}) must contain 0, the first layer, whose rows the others "
                "carry on; add it"
            )
        if self.target_modules is not None:
            raise InputError(
                f"target_modules ({self.target_modules}) must be None where layers is given; "
                "choose layers by one of them"
            )

    @classmethod
    def paper(cls, **settings: Any) -> MeptConfig:
        """The settings of the paper's code, as its README runs it, where it says.

        Args:
            settings: Further settings, or others.

        Example:
            >>> MeptConfig.paper(task_type="SEQ_CLS").router
            'linear'
        """
        official: dict[str, Any] = {"router": "linear", "router_noise": 1.0, "init": "xavier"}
        official |= {"num_virtual_tokens": 10, "num_experts": 4, "top_k": 1}
        return cls(**official | settings)

    @classmethod
    def from_official(
        cls, *, num_virtual_tokens: int, num_virtual_tokens_full: int, topk: int, **settings: Any
    ) -> MeptConfig:
        """Translate the arguments of the paper's code, which counts the rows of all experts.

        Args:
            num_virtual_tokens: Prompt rows of a layer.
            num_virtual_tokens_full: Rows of all its experts together.
            topk: Experts that an input is routed to.
            settings: Further settings, by their names here.

        Returns:
            The settings.

        Raises:
            InputError: The rows of all experts are no multiple of those of one.

        Example:
            >>> MeptConfig.from_official(
            ...     num_virtual_tokens=10, num_virtual_tokens_full=40, topk=1
            ... ).num_experts
            4
        """
        _require_whole("num_virtual_tokens", num_virtual_tokens)
        _require_whole("num_virtual_tokens_full", num_virtual_tokens_full)
        experts, rest = divmod(num_virtual_tokens_full, max(num_virtual_tokens, 1))
        if rest:
            raise InputError(
                f"num_virtual_tokens_full ({num_virtual_tokens_full}) must be a multiple of "
                f"num_virtual_tokens ({num_virtual_tokens}); their quotient is the number of "
                "experts"
            )
        return cls(
            num_virtual_tokens=num_virtual_tokens,
            num_experts=experts,
            top_k=topk,
            **settings | {"router": settings.get("router", "linear")},
        )


def _require_whole(name: str, value: object) -> None:
    if not _is_whole(value):
        raise InputError(f"{name} ({value!r}) must be a whole number, of type int; convert it")


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: object) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))
