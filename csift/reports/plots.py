"""The plots of the reports: one theme, SVG out, drawn with matplotlib.

Colours are roles (ink, muted, line, accent, good, bad), written as CSS variables of style.css, so that one picture fits
light, dark and paper. Text stays text, in the page's font. The same input gives the same bytes: ids are salted with the
plot's name, no dates, and the user's matplotlibrc plays no part. Widths and heights are in CSS pixels.
"""

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from csift.reports.wording import count, level, points_interval, spread
from csift.schemas import Interval, Method, PromotionDecision, StageLosses, SynthesisReport

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.axes import Axes

WIDE, NARROW = 720, 340  # for a screen and for a telephone

# Colours that occur nowhere else stand for the roles until the SVG is text.
ROLES = {
    "ink": "#00000a",
    "muted": "#00000b",
    "line": "#00000c",
    "accent": "#00000d",
    "good": "#00000e",
    "bad": "#00000f",
    "quiet": "#00001a",
}

_THEME: dict[str, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the layout is the same on every machine
    "font.size": 12,
    "text.color": ROLES["ink"],
    "axes.labelcolor": ROLES["muted"],
    "axes.edgecolor": ROLES["line"],
    "axes.linewidth": 1,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "both",
    "axes.axisbelow": True,
    "axes.unicode_minus": True,
    "grid.color": ROLES["line"],
    "grid.linewidth": 1,
    "xtick.labelcolor": ROLES["muted"],
    "ytick.labelcolor": ROLES["ink"],
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
    "xtick.major.pad": 6,
    "ytick.major.pad": 8,
    "figure.facecolor": "none",
    "figure.dpi": 72,  # one unit of the SVG is one CSS pixel
    "savefig.facecolor": "none",
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.h_pad": 0.04,
    "figure.constrained_layout.w_pad": 0.04,
    "figure.constrained_layout.hspace": 0.1,
    "figure.constrained_layout.wspace": 0.06,
}


def svg(name: str, title: str, width: int, height: int, draw: Callable[["Axes"], None]) -> str:
    """Draws on one axes and returns an `<svg>` element to stand inline in HTML.

    Args:
        name: unique within the page; prefixes the ids inside the picture.
        title: what a reader who cannot see the picture is told.
    """
    return multiples(name, title, width, height, 1, [draw])


def multiples(name: str, title: str, width: int, height: int, columns: int, panels: Sequence[Callable[["Axes"], None]]) -> str:
    """Small multiples: `svg` with one axes a panel, row by row; every panel is as large as the others."""
    import matplotlib as mpl
    from matplotlib import style
    from matplotlib.figure import Figure

    with style.context("default"), mpl.rc_context({**_THEME, "svg.hashsalt": name}):
        figure = Figure(figsize=(width / 72, height / 72))
        for place, draw in enumerate(panels, start=1):
            draw(figure.add_subplot(math.ceil(len(panels) / columns), columns, place))
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return _for_page(out.getvalue(), name, title, width, height)


def _for_page(raw: str, name: str, title: str, width: int, height: int) -> str:
    from markupsafe import escape

    body = raw[raw.index("<svg") : raw.rindex("</svg>")]
    body = re.sub(r"^<svg[^>]*>|<style.*?</style>|<metadata.*?</metadata>|<!--.*?-->", "", body, flags=re.DOTALL)
    referred = set(re.findall(r"#([A-Za-z][\w.-]*)[\"')]", body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in referred else "", body)
    body = re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", body)
    body = re.sub(r'xlink:href="#([^"]+)"', rf'href="#{name}-\1"', body)
    body = re.sub(r"font-family: [^;\"]*", "font-family: inherit", body)
    body = re.sub(r'style="([^"]*)"', _attributes, body)
    for role, colour in ROLES.items():
        body = body.replace(colour, f"var(--{role})")
    label = f'<title id="{name}-title">{escape(title)}</title>'
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f'<svg {size} role="img" aria-labelledby="{name}-title">{label}{body}</svg>'


def _attributes(style: re.Match[str]) -> str:
    """As attributes of SVG, which a page may have whose Content-Security-Policy allows no inline styles."""
    pairs = (pair.split(": ", 1) for pair in style[1].split("; "))
    return " ".join(f'{name}="{value}"' for name, value in pairs)


def both(draw: Callable[[str, int], str], name: str) -> "Markup":
    """A plot for a screen and for a telephone; the stylesheet shows one of them, so that its text is never scaled."""
    from markupsafe import Markup

    parts = (("wide", WIDE), ("narrow", NARROW))
    # svg() escapes every text that it draws.
    return Markup("".join(f'<div class="{kind}">{draw(f"{name}-{kind}", width)}</div>' for kind, width in parts))


def difference_title(decision: PromotionDecision) -> str:
    """The paired differences in words."""
    parts = [f"{name} {points_interval(interval)}" for name, _, interval in _differences(decision)]
    return f"Paired difference in points with its {level(decision.policy.confidence)} interval: {'; '.join(parts)}."


def difference_plot(decision: PromotionDecision, name: str, width: int) -> str:
    """Paired difference with its interval, over all questions and by slice; right of zero the challenger is better."""
    rows = _differences(decision)
    wide = width >= 560

    def draw(axes: "Axes") -> None:
        axes.axvline(0, color=ROLES["muted"], linewidth=1.2)
        for y, (_, _, interval) in enumerate(rows):
            colour = ROLES["good"] if interval.low > 0 else ROLES["bad"] if interval.high < 0 else ROLES["muted"]
            low, value, high = 100 * interval.low, 100 * interval.value, 100 * interval.high
            thick = 3.5 if y == 0 else 2
            axes.plot([low, high], [y, y], color=colour, linewidth=thick, solid_capstyle="round")
            axes.plot([value], [y], marker="o", markersize=10 if y == 0 else 7, color=colour)
            if wide:
                axes.annotate(
                    points_interval(interval).replace("-", "−"),
                    (1, y),
                    xycoords=("axes fraction", "data"),
                    xytext=(14, 0),
                    textcoords="offset points",
                    va="center",
                    color=colour,
                    weight="bold" if y == 0 else "normal",
                )
        labels = [f"{label} ({items:,})" if wide else label for label, items, _ in rows]
        axes.set_yticks(range(len(rows)), labels)
        axes.get_yticklabels()[0].set_fontweight("bold")
        axes.set_ylim(len(rows) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.06)
        axes.locator_params(axis="x", nbins=8 if wide else 4)
        axes.set_xlabel("points; right of zero the challenger is better" if wide else "points", labelpad=8)

    return svg(name, difference_title(decision), width, 66 + 30 * len(rows), draw)


def _differences(decision: PromotionDecision) -> list[tuple[str, int, Interval]]:
    return [
        ("All questions", len(decision.evidence.items), decision.difference),
        *((part.name, part.items, part.difference) for part in decision.slices),
    ]


# What a loss is measured in; the losses of the other methods (PPO's clipped surrogate and the like) have no unit.
_UNITS: Mapping[Method, str] = {
    "cpt": "nats per token",
    "sft": "nats per token",
    "dpo": "nats per pair",
    "reward": "nats per pair",
}


def loss_unit(method: Method) -> str:
    """What the loss of a method is measured in, "DPO loss" and the like where it has no unit."""
    return _UNITS.get(method, f"{method.upper()} loss")


def loss_title(stages: Sequence[StageLosses]) -> str:
    """The loss curves in words."""
    parts = [
        f"{stage.method} over {count(len(stage.points), 'step')}, {stage.points[0].loss:.3f} {loss_unit(stage.method)} "
        f"at step {stage.points[0].step}, {stage.points[-1].loss:.3f} at step {stage.points[-1].step}"
        for stage in _drawn(stages)
    ]
    return f"Training loss: {'; '.join(parts)}."


def loss_caption(stages: Sequence[StageLosses]) -> str:
    """What the picture of the loss curves shows, with steps and tokens of each stage; tokens only where they were counted."""
    parts = []
    for stage in stages:
        tokens = f", {count(stage.points[-1].tokens, 'token')}" if stage.points and stage.points[-1].tokens else ""
        parts.append(
            f"{stage.method}: {count(len(stage.points), 'step')}{tokens}" if stage.points else f"{stage.method}: not stored"
        )
    caption = f"Loss at each optimiser step (thin) and its running mean (bold). {'; '.join(parts)}."
    if len({loss_unit(stage.method) for stage in _drawn(stages)}) > 1:
        caption += " Their units differ, so that heights do not compare from panel to panel."
    return caption


def loss_plot(stages: Sequence[StageLosses], name: str, width: int) -> str:
    """Loss by optimiser step (thin) and its running mean over about a tenth of the steps (bold), a panel a stage.

    The panels share no axis: the losses of different methods are in different units. A stage without points has no panel; at
    least one stage has some.
    """
    drawn = _drawn(stages)
    wide = width >= 560
    columns = min(len(drawn), (2 if len(drawn) == 4 else 3) if wide else 1)
    rows = math.ceil(len(drawn) / columns)
    heading = [f"{number}. {stage.method}" if len(stages) > 1 else stage.method for number, stage in _numbered(stages)]
    panels = [_loss_panel(stage, title, width // columns) for stage, title in zip(drawn, heading, strict=True)]
    return multiples(name, loss_title(stages), width, rows * (270 if wide and columns == 1 else 230), columns, panels)


def _drawn(stages: Sequence[StageLosses]) -> list[StageLosses]:
    return [stage for _, stage in _numbered(stages)]


def _numbered(stages: Sequence[StageLosses]) -> list[tuple[int, StageLosses]]:
    """Each stage that has points, with its place in the sequence."""
    return [(number, stage) for number, stage in enumerate(stages, start=1) if stage.points]


def _loss_panel(stage: StageLosses, title: str, width: int) -> Callable[["Axes"], None]:
    steps = [point.step for point in stage.points]
    values = [point.loss for point in stage.points]
    means = running_mean(values, len(values) // 20)
    known = [value for value in values if math.isfinite(value)] or [0.0]

    def draw(axes: "Axes") -> None:
        axes.plot(steps, values, color=ROLES["accent"], alpha=0.4, linewidth=1.2, marker="o" if len(steps) == 1 else None)
        axes.plot(steps, means, color=ROLES["accent"], linewidth=2.5, solid_capstyle="round")
        axes.plot(steps[-1:], means[-1:], marker="o", markersize=7, color=ROLES["accent"])
        # Right of the curve, where nothing is drawn; the layout makes room for it.
        last = f"{means[-1]:.2f}" if abs(means[-1]) >= 0.1 else f"{means[-1]:.2g}"
        axes.annotate(
            last.replace("-", "−"), (steps[-1], means[-1]), xytext=(8, 0), textcoords="offset points",
            va="center", color=ROLES["accent"], weight="bold",
        )  # fmt: skip
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold", pad=10)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="y", labelcolor=ROLES["muted"])
        axes.locator_params(axis="y", nbins=5)
        axes.locator_params(axis="x", nbins=8 if width >= 560 else 4, integer=True)
        axes.set_xlim(0, 1.02 * steps[-1])
        low, high = min(0.0, *known), max(0.0, *known)
        room = 0.12 * ((high - low) or 1)
        axes.set_ylim(low - room if low < 0 else 0, high + room)
        if low < 0:
            axes.axhline(0, color=ROLES["muted"], linewidth=1.2)
        axes.set_xlabel("optimiser step", labelpad=8)
        axes.set_ylabel(loss_unit(stage.method), labelpad=8)

    return draw


def running_mean(values: Sequence[float], reach: int) -> list[float]:
    """Mean of each value and as many on either side, at most `reach`, fewer towards the ends: it does not lag."""
    spans = (min(reach, index, len(values) - 1 - index) for index in range(len(values)))
    windows = (values[index - span : index + span + 1] for index, span in enumerate(spans))
    return [sum(window) / len(window) for window in windows]


def yield_title(report: SynthesisReport) -> str:
    """The yield in words."""
    parts = [f"{number} {name}" for name, number in _bars(report)]
    return f"What became of {count(report.candidates, 'synthetic candidate')}: {', '.join(parts)}."


def yield_plot(report: SynthesisReport, name: str, width: int) -> str:
    """What became of the teacher's candidates: accepted, and each reason for refusal."""
    bars = _bars(report)

    def draw(axes: "Axes") -> None:
        colours = [ROLES["good"], *[ROLES["quiet"]] * (len(bars) - 1)]
        axes.barh(range(len(bars)), [number for _, number in bars], height=0.62, color=colours)
        for y, (_, number) in enumerate(bars):
            axes.annotate(f"{number:,}", (number, y), xytext=(7, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(bars)), [label for label, _ in bars])
        axes.get_yticklabels()[0].set_fontweight("bold")
        axes.set_ylim(len(bars) - 0.4, -0.6)
        axes.set_xlim(0, 1.15 * max(1, *(number for _, number in bars)))
        axes.xaxis.set_visible(False)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)

    return svg(name, yield_title(report), width, 16 + 28 * len(bars), draw)


def _bars(report: SynthesisReport) -> list[tuple[str, int]]:
    refused = sorted(report.rejected.items(), key=lambda pair: (-pair[1], pair[0]))
    return [("accepted", report.accepted), *refused]


def styles_title(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Rows by style and source in words."""
    parts = [f"{style} {', '.join(f'{number:,} {source}' for source, number in counts[style].items())}" for style in counts]
    return f"Training rows by style and source: {'; '.join(parts)}."


def styles_plot(counts: Mapping[str, Mapping[str, int]], name: str, width: int) -> str:
    """Rows of each style, a bar each, parted by source."""
    styles = sorted(counts, key=lambda style: -sum(counts[style].values()))
    sources = [source for source in _SOURCE_ROLES if any(counts[style].get(source) for style in styles)]

    def draw(axes: "Axes") -> None:
        ends = [0] * len(styles)
        for source in sources:
            widths = [counts[style].get(source, 0) for style in styles]
            axes.barh(range(len(styles)), widths, left=ends, height=0.62, color=ROLES[_SOURCE_ROLES[source]], label=source)
            ends = [end + more for end, more in zip(ends, widths, strict=True)]
        for y, end in enumerate(ends):
            axes.annotate(f"{end:,}", (end, y), xytext=(7, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(styles)), [_STYLE_NAMES.get(style, style) for style in styles])
        axes.set_ylim(len(styles) - 0.4, -0.6)
        axes.set_xlim(0, 1.15 * max(1, *ends))
        axes.xaxis.set_visible(False)
        axes.grid(visible=False)
        axes.spines["bottom"].set_visible(False)
        # Below the axes and as wide as the picture, or a telephone cuts it off.
        axes.figure.legend(loc="outside lower left", ncols=len(sources), frameon=False, handlelength=0.9, handleheight=0.9)

    return svg(name, styles_title(counts), width, 46 + 28 * len(styles), draw)


_STYLE_NAMES = {"yes_no": "yes or no", "multi_chunk": "several chunks"}
_SOURCE_ROLES = {"human": "accent", "synthetic": "quiet", "feedback": "good"}


def lengths_title(what: str, values: Sequence[int]) -> str:
    """A distribution of lengths in words."""
    shortest, median, most, longest = spread(values)
    return f"{what}: shortest {shortest}, median {median}, nine in ten at most {most}, longest {longest}."


def lengths_plot(what: str, values: Sequence[int], name: str, width: int) -> str:
    """How many rows have a length, in at most 24 steps; what is longer than nearly all (99 in 100) stands in the last one."""
    top = sorted(values)[round(0.99 * (len(values) - 1))]
    step = max(1, math.ceil((top + 1) / 24))
    edges = [step * index - 0.5 for index in range(top // step + 2)]

    def draw(axes: "Axes") -> None:
        axes.hist([min(value, top) for value in values], bins=edges, color=ROLES["accent"], rwidth=0.9)
        median = sorted(values)[round(0.5 * (len(values) - 1))]
        axes.axvline(median, color=ROLES["ink"], linewidth=1.5)
        axes.annotate(
            f"median {median:,}", (median, 1), xycoords=("data", "axes fraction"), xytext=(5, -2), textcoords="offset points",
            va="top", weight="bold",
        )  # fmt: skip
        axes.margins(y=0.2)
        axes.set_xlim(min(values) - step, edges[-1] + step / 2)
        axes.grid(visible=False, axis="x")
        axes.tick_params(axis="y", labelcolor=ROLES["muted"])
        axes.locator_params(axis="both", nbins=5, integer=True)
        axes.set_xlabel(what.lower(), labelpad=8)
        axes.set_ylabel("rows", labelpad=8)

    return svg(name, lengths_title(what, values), width, 210, draw)
