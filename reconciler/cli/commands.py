"""The list of commands in `--help`: what each does as a whole sentence, where Typer would cut it to one line."""

from __future__ import annotations

from typing import Any, Final

from typer.core import TyperGroup

# More letters than any sentence has.
_WHOLE: Final = 1000


class Commands(TyperGroup):
    """A command that has others."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        named = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [(name, one.get_short_help_str(_WHOLE)) for name, one in named if one is not None and not one.hidden]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
