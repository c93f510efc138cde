"""The two themes: one set of colours by role, for plots and for text.

The hues are Okabe and Ito's, safe for colour-blind readers; on the dark ground the deep ones are lifted.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from string import Template


@dataclass(frozen=True)
class Look:
    """Colours by what they stand for."""

    name: str
    ground: str
    panel: str
    ink: str
    faint: str
    grid: str
    compute: str
    transfer: str
    wait: str
    idle: str
    held: str
    alarm: str
    lines: tuple[str, ...]

    @property
    def spent(self) -> dict[str, str]:
        """The colour of each way to spend seconds, in the order of the bars."""
        return {
            "compute": self.compute,
            "transfer": self.transfer,
            "wait": self.wait,
            "idle": self.idle,
        }

    @property
    def css(self) -> str:
        """The style sheet of text in this look."""
        roles = {f.name: getattr(self, f.name) for f in fields(self)}
        return Template(_CSS).substitute(roles)

    @property
    def page_css(self) -> str:
        """The style sheet of the page around."""
        return (
            f"html, body, .content {{ background: {self.ground}; color-scheme: {self.name}; }}\n"
            f".content {{ padding: 0 18px 18px; box-sizing: border-box; }}"
        )

    @property
    def input_css(self) -> str:
        """The style sheet of selects and buttons."""
        return (
            f":host {{ color: {self.ink}; }}\n"
            f".bk-input, .bk-btn, .bk-btn-default {{ background-color: {self.panel}; "
            f"color: {self.ink}; border-color: {self.grid}; }}\n"
            f".bk-btn.bk-active {{ background-color: {self.compute}; color: {self.ground}; }}"
        )


_CSS = """
.dk { font: 13px/1.45 system-ui, Helvetica, Arial, sans-serif; color: $ink; }
.bk-clearfix { width: 100%; }
.dk h2 { font-size: 16px; margin: 14px 0 4px; }
.dk table { font: inherit; color: inherit; border-collapse: collapse; }
.dk table { margin: 4px 0 10px; background: $panel; }
.dk tr, .dk tbody tr:nth-child(n) { background: $panel; }
.dk th { text-align: right; font-weight: 600; color: $faint; border-bottom: 2px solid $grid; }
.dk td { text-align: right; border-bottom: 1px solid $grid; font-variant-numeric: tabular-nums; }
.dk th, .dk td { padding: 4px 14px 4px 0; white-space: nowrap; }
.dk th:first-child, .dk td:first-child { text-align: left; }
.dk .failed, .dk .lost { color: $alarm; font-weight: 600; }
.dk .running { color: $compute; font-weight: 600; }
.dk .tall { max-height: 440px; overflow-y: auto; }
.dk .scroll { overflow-x: auto; }
.dk p { margin: 4px 0; max-width: 90em; }
.dk a { color: $compute; }
.dk .note { color: $faint; }
.dk .message { font-size: 15px; padding: 28px; background: $panel; border-radius: 6px; }
.dk .advice { list-style: none; margin: 6px 0; padding: 0; max-width: 90em; }
.dk .advice li { margin: 4px 0; padding: 6px 12px; background: $panel; border-left: 4px solid $transfer; }
.dk .advice li.serious { border-left-color: $alarm; }
.dk .advice li.well { border-left-color: $compute; }
.dk .swatch { display: inline-block; width: 10px; height: 10px; margin-right: 6px; }
"""

LIGHT = Look(
    "light", ground="#FFFFFF", panel="#F6F7F9", ink="#222222", faint="#666666", grid="#E2E4E8",
    compute="#0072B2", transfer="#E69F00", wait="#8C8C8C", idle="#E3E3E3", held="#009E73",
    alarm="#C0392B",
    lines=("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F4FA3", "#4D4D4D"),
)  # fmt: skip

DARK = Look(
    "dark", ground="#16191D", panel="#20242A", ink="#E4E6EA", faint="#9AA1AB", grid="#363C45",
    compute="#56B4E9", transfer="#E69F00", wait="#7B828C", idle="#2F353D", held="#2BC49A",
    alarm="#FF7B72",
    lines=("#56B4E9", "#FF8C42", "#2BC49A", "#E39BC4", "#E6B450", "#9AD0F5", "#B48EDB", "#C8CCD2"),
)  # fmt: skip

LOOKS = {look.name: look for look in (LIGHT, DARK)}
