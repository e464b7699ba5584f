"""The least that a Textual application can be: two lines and a footer."""

from textual.app import App, ComposeResult
from textual.widgets import Footer, Static


class Hello(App[None]):
    """Says hello."""

    BINDINGS = [("q", "quit", "Quit")]  # noqa: RUF012

    def compose(self) -> ComposeResult:
        yield Static("Hello")
        yield Footer()


if __name__ == "__main__":
    Hello().run()
