"""The page of ``vmprobe report --html``: one file that needs nothing else, neither network nor program."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import import_module
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any, Final

from vmprobe.analyses.report_tables import heading
from vmprobe.errors import UsageError
from vmprobe.render.html_body import body
from vmprobe.render.html_charts import cost_chart, mass_chart, trend_charts
from vmprobe.render.html_colors import schemes, style
from vmprobe.render.html_data import Packed, PageKinds, map_facts, packed_text, script_json
from vmprobe.render.html_parts import text

if TYPE_CHECKING:
    from vmprobe.analyses.page_inputs import PageInputs

SCRIPTS: Final = ("page", "tables", "blocks", "strip", "inspector", "map", "charts")
"""Scripts in the order in which they use one another."""

POLICY: Final = (
    "default-src 'none'; script-src 'sha256-{digest}' blob:; style-src 'unsafe-inline'; img-src data: blob:;"
    " base-uri 'none'; form-action 'none'"
)
"""Only the page's own script runs, and plotly, which that script unpacks to a blob; nothing is fetched.
Styles are free because plotly writes its own."""


PAGE_BYTES: Final = 3_000_000
"""What a page of a host of 24 GiB stays below, two thirds of it plotly. Single pages take what is left (in
base64 a third more than gzipped); those that do not fit are left out, and the page says so."""
SLACK_BYTES: Final = 8_000
LEAST_BYTES: Final = 200_000
"""What single pages may take, gzipped, where the pageblocks of a much larger host need more than that."""


def html_page(inputs: PageInputs) -> bytes:
    """Return the page.

    Parameters
    ----------
    inputs
        What it shows.

    Raises
    ------
    UsageError
        Plotly is not installed.
    """
    charts = _charts(inputs)
    packed = Packed()
    facts: dict[str, Any] = {"map": None, "pages": None, "charts": charts, "colors": schemes()}
    if inputs.map is not None:
        facts["map"] = map_facts(inputs.map, packed)
    script = "".join(_resource(f"{name}.js") for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    told = {
        "policy": POLICY.format(digest=digest),
        "title": text(f"vmprobe report: {heading(inputs.report)}"),
        "style": style() + _resource("page.css"),
        "body": body(inputs, charts, 0),
        "facts": script_json(facts),
        "blocks": packed.text(),
        "pages": "",
        "script": script,
        "plotly": packed_text(_plotly()) if charts else "",
    }
    if inputs.map is not None and inputs.pages is not None:
        room = PAGE_BYTES - sum(len(part.encode()) for part in told.values())
        budget = max(LEAST_BYTES, room * 3 // 4 - SLACK_BYTES)
        pages = PageKinds(inputs.pages, 1 << inputs.map.pageblock_order, budget)
        facts["pages"] = pages.facts()
        told |= {"facts": script_json(facts), "pages": pages.text}
        told["body"] = body(inputs, charts, pages.left_out_pageblocks)
    return Template(_resource("page.html")).substitute(told).encode()


def _charts(inputs: PageInputs) -> list[dict[str, Any]]:
    size = inputs.report.frag.page_size
    mass = mass_chart(inputs.free_mass, size)
    return [
        *(cost_chart(curve, size) for curve in inputs.curves if curve.candidate_blocks),
        *(() if mass is None else (mass,)),
        *trend_charts(inputs.series),
    ]


def _plotly() -> bytes:
    try:
        offline = import_module("plotly.offline")
    except ImportError as error:
        hint = "pip install 'vmprobe[html]', or leave out --html"
        raise UsageError("the page needs plotly, which is not installed", hint=hint) from error
    code: str = offline.get_plotlyjs()
    return code.encode()


@cache
def _resource(name: str) -> str:
    return (files("vmprobe.render") / "page" / name).read_text("utf-8")
