"""Renders a template of this folder into a page that loads nothing from outside; the pages of `csift serve` share its parts."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from csift.reports import wording

_FOLDER = Path(__file__).parent
STYLESHEET = _FOLDER / "style.css"


@cache
def environment(*folders: Path) -> jinja2.Environment:
    """Templates of these folders and of this one: every value is escaped, one that is missing is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "count": wording.count, "percent": wording.percent, "duration": wording.duration, "level": wording.level,
        "when": wording.when, "money": wording.money, "minus": minus, "drift_sentence": wording.drift_sentence,
        "percent_interval": wording.percent_interval, "points_interval": wording.points_interval,
    }  # fmt: skip
    # The stylesheet is a file of this package, not data.
    environment.globals["css"] = Markup(STYLESHEET.read_text(encoding="utf-8"))
    return environment


def render_page(template: str, **values: Any) -> str:
    """The page; every value is escaped unless it is Markup already."""
    return environment().get_template(template).render(**values)


def minus(text: str) -> str:
    """Hyphens before numbers become minus signs; for figures and sentences with figures, never for ids."""
    return re.sub(r"(?<![\w.-])-(?=\d)", "−", text)
