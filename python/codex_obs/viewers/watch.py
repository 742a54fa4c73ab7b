"""A run in a terminal: charts, last values, system and losses, live. Made of Textual and textual-plot."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

from textual import work
from textual.app import App
from textual.binding import Binding
from textual.containers import Grid
from textual.widgets import DataTable, Footer, Static
from textual_plot import HiResMode, NumericAxisFormatter, PlotWidget

from codex_obs._moments import duration_text
from codex_obs.errors import CodexObsError
from codex_obs.viewers._watched import Watched

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from textual.app import ComposeResult
    from textual.binding import BindingType
    from textual.events import Resize
    from textual.geometry import Size

    from codex_obs._drawing import Points
    from codex_obs._series import Axis, Key
    from codex_obs.viewers._watched import Line

EVERY_S = 1.0
# A chart of fewer columns or lines than this says little.
_CHART_WIDTH, _CHART_HEIGHT = 38, 10
_OTHER_LINES = 4  # state, system, losses, keys
_TABLE_SHARE = 3
_MOST_CHARTS = 12
_LINES_A_TICK, _COLUMNS_A_TICK = 2, 12
_DOTS = 2  # of a character, in a row
_COLUMNS = ("metric", "last", "step", "min", "max", "rows", "not finite")


class Watch(App[None]):
    """The dashboard.

    Args:
        path: The run directory.
        every_s: How often it looks at the run.
    """

    TITLE = "codex-obs watch"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    #state { text-style: bold; height: 1; }
    #system, #losses { height: 1; }
    #losses.lost { background: $error; color: $text; }
    #charts { grid-gutter: 0 1; }
    PlotWidget { border: none; border-title-color: $text; border-top: solid $primary; padding: 0; }
    PlotWidget.chosen { border-top: heavy $accent; }
    DataTable { height: auto; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape", "quit", "Quit"),
        Binding("enter", "zoom", "One or all", priority=True),
        Binding("x", "axis", "Step or time"),
        Binding("l", "scale", "Log scale"),
        Binding("r", "look", "Look now"),
    ]

    def __init__(self, path: Path, *, every_s: float = EVERY_S) -> None:
        super().__init__()
        self._watched = Watched(path)
        self._every_s = every_s
        self._axis: Axis = "step"
        self._is_log = False
        self._is_zoomed = False
        self._lines: list[Line] = []
        # What the terminal was resized to; the screen's own size follows later.
        self._room: Size | None = None

    def compose(self) -> ComposeResult:
        """Make the widgets."""
        yield Static(f"{self._watched.path}", id="state", markup=False)
        yield Grid(id="charts")
        yield DataTable(id="table", cursor_type="row", zebra_stripes=True)
        yield Static("", id="system", markup=False)
        yield Static("", id="losses", markup=False)
        yield Footer(show_command_palette=False)

    async def on_mount(self) -> None:
        """Begin to look."""
        table = self._table
        table.add_columns(*_COLUMNS)
        table.focus()
        await self._arrange()
        self.set_interval(self._every_s, self.action_look)
        self.action_look()

    async def on_resize(self, event: Resize) -> None:
        """Fit as many charts as there is room for."""
        self._room = event.size
        await self._arrange()
        self._draw_soon()

    def on_data_table_row_highlighted(self, _event: DataTable.RowHighlighted) -> None:
        """Show the charts around the metric that is chosen."""
        self._draw_soon()

    async def action_zoom(self) -> None:
        """Show the chosen metric alone, or all again."""
        self._is_zoomed = not self._is_zoomed
        await self._arrange()
        self._draw_soon()

    def action_axis(self) -> None:
        """Change between steps and time."""
        self._axis = "time" if self._axis == "step" else "step"
        self._draw_soon()

    def action_scale(self) -> None:
        """Change between a linear and a logarithmic scale."""
        self._is_log = not self._is_log
        self._draw_soon()

    @work(thread=True, exclusive=True, group="look")
    def action_look(self) -> None:
        """Read what was added to the run. The screen stays alive meanwhile."""
        try:
            lines = self._watched.refresh()
            texts = (self._watched.state(), self._watched.system(), self._watched.losses())
        except CodexObsError as error:
            self.call_from_thread(self._say, str(error))
            return
        self.call_from_thread(self.call_later, self._show, lines, *texts)

    @property
    def _table(self) -> DataTable[str]:
        return self.query_one("#table", DataTable)

    @property
    def _charts(self) -> list[PlotWidget]:
        return list(self.query(PlotWidget))

    def _say(self, words: str) -> None:
        for place in self.query("#losses").results(Static):
            place.update(words)

    async def _show(self, lines: list[Line], state: str, system: str, losses: str) -> None:
        if not self.query("#table"):
            return  # it has ended meanwhile
        table = self._table
        if [line.key for line in lines] != [line.key for line in self._lines]:
            chosen = table.cursor_row
            table.clear()
            for number, line in enumerate(lines):
                table.add_row(*_cells(line), key=str(number))
            table.move_cursor(row=min(chosen, max(len(lines) - 1, 0)))
            self._lines = lines
            await self._arrange()
        else:
            for number, (line, before) in enumerate(zip(lines, self._lines, strict=True)):
                for column, (cell, old) in enumerate(zip(_cells(line), _cells(before), strict=True)):
                    if cell != old:
                        table.update_cell_at((number, column), cell, update_width=True)  # type: ignore[arg-type]
        self._lines = lines
        self.query_one("#state", Static).update(state if lines else f"{state}  waiting for the first row")
        self.query_one("#system", Static).update(system)
        place = self.query_one("#losses", Static)
        place.update(losses)
        place.set_class(losses.startswith("LOST"), "lost")
        self._draw_soon()

    async def _arrange(self) -> None:
        """Make as many charts as fit, and a table below them."""
        width, height = self._room or self.size
        lines = max(height - _OTHER_LINES, 6)
        table_lines = max(min(lines // _TABLE_SHARE, len(self._lines) + 1), 4)
        wanted = 1 if self._is_zoomed else max(len(self._lines), 1)
        across = min(max(width // _CHART_WIDTH, 1), wanted)
        down = min(max((lines - table_lines) // _CHART_HEIGHT, 1), math.ceil(wanted / across))
        across = min(across, math.ceil(wanted / down))
        grid = self.query_one("#charts", Grid)
        grid.styles.grid_size_columns, grid.styles.grid_size_rows = across, down
        grid.styles.height = lines - table_lines
        self._table.styles.height = table_lines
        wanted, there = min(across * down, _MOST_CHARTS), self._charts
        for chart in there[wanted:]:
            await chart.remove()
        if len(there) < wanted:
            await grid.mount_all(_Chart(allow_pan_and_zoom=False) for _ in range(wanted - len(there)))

    def _draw_soon(self) -> None:
        self.call_after_refresh(self._draw)

    def _draw(self) -> None:
        charts = self._charts
        if not charts:
            return
        chosen = max(self._table.cursor_row, 0)
        first = chosen // len(charts) * len(charts)
        shown = self._lines[first : first + len(charts)]
        width = max(_DOTS * chart.size.width for chart in charts)
        curves = self._watched.curves([line.key for line in shown], axis=self._axis, width=max(width, 1))
        for place, chart in enumerate(charts):
            line = shown[place] if place < len(shown) else None
            chart.set_class(first + place == chosen and len(charts) > 1, "chosen")
            self._draw_one(chart, line, curves)

    def _draw_one(self, chart: PlotWidget, line: Line | None, curves: dict[Key, Points]) -> None:
        chart.clear()
        chart.visible = line is not None
        if line is None:
            return
        xs, ys = curves[line.key]
        if self._is_log:
            positive = [(x, math.log10(y)) for x, y in zip(xs, ys, strict=True) if y > 0]
            xs, ys = [x for x, _ in positive], [y for _, y in positive]
        down, across = chart.size.height // _LINES_A_TICK, chart.size.width // _COLUMNS_A_TICK
        chart.set_y_formatter(_Powers(down) if self._is_log else _Numbers(down))
        chart.set_x_formatter(_Times(across) if self._axis == "time" else _Numbers(across))
        title = f"{line.name}  {line.last}"
        if line.nonfinite:
            title += f"  ({line.nonfinite} not finite)"
        if self._is_log:
            title += "  log"
        chart.border_title = title.replace("[", "\\[")
        if xs:
            chart.plot(xs, ys, line_style="cyan", hires_mode=HiResMode.BRAILLE)
            chart.set_xlimits(*_apart(min(xs), max(xs)))
            chart.set_ylimits(*_apart(min(ys), max(ys)))


class _Chart(PlotWidget):
    """A chart that leaves the keys to the table, with margins as small as its labels."""

    can_focus = False

    def on_mount(self) -> None:
        """Make room for the curve."""
        self.margin_top, self.margin_bottom, self.margin_left = 0, 1, 9


class _Numbers(NumericAxisFormatter):
    """Ticks of few digits, and as few as there is room for."""

    def __init__(self, most: int) -> None:
        self._most = max(most, 2)

    def get_ticks(self, min_: float, max_: float, max_ticks: int = 8) -> list[float]:
        return super().get_ticks(min_, max_, min(max_ticks, self._most))

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [f"{tick:.4g}" for tick in ticks]


class _Powers(_Numbers):
    """Ticks of logarithms, as the numbers that they are of."""

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [f"{10**tick:.2g}" if abs(tick) < 300 else f"1e{tick:.0f}" for tick in ticks]  # noqa: PLR2004 - doubles end


class _Times(_Numbers):
    """Ticks of seconds."""

    def get_labels_for_ticks(self, ticks: Sequence[float]) -> list[str]:
        return [duration_text(max(tick, 0.0)) for tick in ticks]


def _apart(low: float, high: float) -> tuple[float, float]:
    """Give limits that differ, also of one point or a constant."""
    if high > low:
        return low, high
    margin = abs(low) * 0.05 or 0.5
    return low - margin, high + margin


def _cells(line: Line) -> tuple[str, ...]:
    step = "" if line.step is None else str(line.step)
    return (line.name, line.last, step, line.smallest, line.largest, line.rows, str(line.nonfinite or ""))
