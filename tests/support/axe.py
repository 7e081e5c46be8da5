"""axe-core looks a page over as assistive technology would meet it.

The script is injected by the debugger's protocol, in which a page's Content-Security-Policy has no
say, so that the policy stands as it does for everybody. What moves is brought to its end first.
A page in a frame is another page, and looked over as such.
"""

from __future__ import annotations

import functools
from typing import Any

from playwright.sync_api import Page

from tests.support.server import ROOT

SCRIPT = ROOT / "build" / "axe" / "node_modules" / "axe-core" / "axe.min.js"
_LOOK = """async () => {
    for (const one of document.getAnimations()) {
        if (one.effect.getTiming().iterations === Infinity) one.cancel(); else one.finish();
    }
    const found = await axe.run(document, {resultTypes: ["violations"], iframes: false});
    return found.violations;
}"""


@functools.cache
def _script() -> str:
    assert SCRIPT.exists(), (
        "axe-core is not installed. Run make test, or make build/axe/.installed."
    )
    return SCRIPT.read_text()


def assert_accessible(page: Page) -> None:
    """axe-core finds nothing on the page as it stands: nothing grave, and nothing small either.

    It is a script: of a browser that runs none, it would never come to an end.
    """
    if not page.evaluate("matchMedia('(scripting: enabled)').matches"):
        return
    if not page.evaluate("'axe' in window"):
        page.evaluate(_script())
    found: list[dict[str, Any]] = page.evaluate(_LOOK)
    faults = [
        f"{rule['impact']}: {rule['id']}: {node['html']}\n{node['failureSummary']}"
        for rule in found
        for node in rule["nodes"]
    ]
    assert not faults, f"{page.url}\n" + "\n".join(faults)
