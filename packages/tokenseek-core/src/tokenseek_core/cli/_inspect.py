"""`tokenseek inspect`: see which tokens of one's own data are kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from tokenseek_common.cli import CommonOptions, Console, check_folder, on_unless
from tokenseek_core.inspect import SeenSettings, look, write_sight
from tokenseek_core.inspect._seen_picture import require_matplotlib


@dataclass(frozen=True, kw_only=True)
class Inspect(SeenSettings, CommonOptions):
    """See which tokens of data or of a text a training would keep, and why.

    Nothing is trained. The folder that --output names, or a new tokenseek-inspect-001, receives
    page.html (every token with its numbers, in any browser), tokens.png and inspect.json.
    """

    picture: Annotated[bool, on_unless("Draw no tokens.png; then matplotlib is not needed.")] = True
    """Draw tokens.png."""

    def run(self, console: Console) -> None:
        """Look, write, and print the shares."""
        check_folder(self.output)
        if self.picture:
            require_matplotlib()
        sight = look(self, console=console)
        folder = write_sight(sight, self.output, picture=self.picture)
        shares = sight.seen.shares
        console.table(
            f"Kept of {len(sight.seen.instances)} instances by {sight.config.selector}",
            ["tokens", "number", "kept", "share"],
            [
                [name, each.tokens, each.kept, f"{each.share:.0%}"]
                for name, each in [*shares.by_class.items(), ("all", shares.all)]
                if each.share is not None
            ],
        )
        console.print(f"page: {folder / 'page.html'}")
        console.result(sight.summary() | {"output": folder})
