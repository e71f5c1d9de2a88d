"""A pretended terminal for everything that is drawn."""

from __future__ import annotations

import io
from typing import Protocol

from rich.console import Console, RenderableType


class View(Protocol):
    def render(self) -> RenderableType: ...


class Screen:
    """A terminal of a given size with a clock that is moved by hand."""

    def __init__(self, width: int = 80, height: int = 24, encoding: str = "utf-8") -> None:
        self.now = 100.0
        self.buffer = io.BytesIO()
        file = io.TextIOWrapper(self.buffer, encoding, write_through=True)
        self.console = Console(
            file=file,
            force_terminal=True,
            color_system="standard",
            width=width,
            height=height,
            legacy_windows=False,
        )

    def clock(self) -> float:
        return self.now

    @property
    def output(self) -> str:
        return self.buffer.getvalue().decode()

    def text(self, view: View) -> str:
        width, height = self.console.size
        plain = Console(file=io.StringIO(), width=width, height=height, color_system=None)
        with plain.capture() as captured:
            plain.print(view.render())
        return captured.get()
