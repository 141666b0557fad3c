"""What the procedural scenes look like."""

from __future__ import annotations

from dataclasses import dataclass

from tokenseek_common import InputError

_SHARES = (
    *("rigid", "stereo", "rooms", "streets", "clutter", "still", "slow", "fast", "zoom"),
    *("shutter", "plain", "fog", "blur", "photos"),
)
_OF_THE_SAME = (("rigid", "stereo"), ("rooms", "streets"), ("still", "slow"))


@dataclass(frozen=True, kw_only=True)
class SceneConfig:
    """What the procedural scenes look like.

    Raises:
        InputError: If a field is out of its range.

    Example:
        >>> SceneConfig(height=64, width=96, motion=0.04).objects
        (3, 6)
    """

    height: int = 96
    """Rows of a frame."""

    width: int = 128
    """Columns of a frame."""

    objects: tuple[int, int] = (3, 6)
    """Fewest and most objects before the background."""

    motion: float = 0.05
    """Mean length of the flow over many scenes, as a share of the width; scenes differ much."""

    rigid: float = 0.35
    """Share of the scenes in which the camera alone moves."""

    stereo: float = 0.2
    """Share of the scenes in which the camera alone moves, and sideways only."""

    rooms: float = 0.0
    """Share of the scenes within walls, floor and ceiling, with boxes and a camera that turns."""

    streets: float = 0.0
    """Share of the scenes on a road under the sky, mostly between two rows of fronts."""

    clutter: float = 0.12
    """Share of the scenes with four times as many objects, all of them small."""

    still: float = 0.0
    """Share of the scenes in which nothing moves."""

    slow: float = 0.0
    """Share of the scenes whose mean flow is from a twentieth of a pixel to two pixels."""

    fast: float = 0.0
    """Share of the scenes with small objects that move by up to a quarter of the width."""

    zoom: float = 0.0
    """Share of the scenes that the second frame shows up to 15 % larger or smaller."""

    shutter: float = 0.0
    """Share of the scenes whose frames are smeared along up to half of the motion between them."""

    plain: float = 0.12
    """Share of the surfaces with hardly any texture, such as a sky or a painted wall."""

    fog: float = 0.0
    """Share of the scenes in thick air, of which the far half shows little but the air's colour."""

    noise: float = 0.02
    """Largest standard deviation of the noise; each scene draws its own."""

    gamma: float = 0.06
    """Spread of the logarithms of gamma, gain and white balance between the two frames."""

    blur: float = 0.2
    """Share of the frames that are slightly out of focus."""

    photos: float = 0.0
    """Share of the surfaces that show a photograph, where installed packages carry any.

    Scenes with photographs depend on what is installed, all others on seed and config alone.
    """

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 16:
                raise InputError(
                    f"{name} ({getattr(self, name)}) must be at least 16; choose a larger {name}"
                )
        fewest, most = self.objects
        if not 0 <= fewest <= most:
            raise InputError(
                f"objects ({fewest}, {most}) must be two numbers, the first from 0 to the second; "
                "choose other objects"
            )
        if not 0 < self.motion <= 0.3:
            raise InputError(
                f"motion ({self.motion:g}) must be above 0 and at most 0.3; choose another motion"
            )
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"{name} ({getattr(self, name):g}) must be from 0 to 1; choose another {name}"
                )
        for first, second in _OF_THE_SAME:
            both = getattr(self, first) + getattr(self, second)
            if both > 1:
                raise InputError(
                    f"{first} + {second} ({both:g}) must be at most 1, since they are "
                    "shares of the same scenes; lower one of them"
                )
        for name in ("noise", "gamma"):
            if not 0 <= getattr(self, name) <= 0.5:
                raise InputError(
                    f"{name} ({getattr(self, name):g}) must be from 0 to 0.5; choose another {name}"
                )
