"""Makes the pictures of the docs from a real run of the demo: `python docs/make_pictures.py`.

The terminal becomes an SVG, the console two PNGs taken in the system's Chromium. Everybody in them
is made up.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

PICTURES = Path(__file__).parent / "pictures"
COLUMNS = 100
STORY_LINES = 22  # of the story's beginning, as many of its end; the rest is left out
PROGRAM = (sys.executable, "-m", "fhir_hub_bridge")
_TOTALS = "All of them"
_END = "came to its end."
_NOT_SHOWN = (tempfile.gettempdir(), "on disk before it answered")
_ADDRESS = re.compile(r"http://127\.0\.0\.1:\d+/console")
# rich's own format, without the fonts it would fetch from elsewhere.
_SVG = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def main() -> int:
    """Run the demo once, photograph what it shows."""
    PICTURES.mkdir(exist_ok=True)
    with running_demo() as (shown, address):
        draw_terminal(shown)
        photograph(address)
    return 0


@contextmanager
def running_demo() -> Iterator[tuple[str, str]]:
    """The demo with its console open: what it printed, with colours, and the console's address."""
    colours = {"FORCE_COLOR": "1", "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    demo = subprocess.Popen(  # noqa: S603  our own program
        [*PROGRAM, "demo", "--fast"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **colours},
        text=True,
    )
    assert demo.stdout is not None  # noqa: S101  asked for
    printed = ""
    try:
        for line in demo.stdout:
            printed += line
            if _TOTALS in printed and (found := _ADDRESS.search(Text.from_ansi(line).plain)):
                time.sleep(0.5)
                yield printed, found[0]
                return
        raise RuntimeError("the demo ended before it told where its console is")
    finally:
        demo.terminate()
        demo.communicate(timeout=60)


def draw_terminal(printed: str) -> None:
    """The story's beginning and end and the totals, as an SVG."""
    lines = printed.splitlines()
    totals = next(n for n, line in enumerate(lines) if _TOTALS in line)
    end = next((n for n, line in enumerate(lines) if _END in line), len(lines) - 1)
    shown = [*lines[:STORY_LINES], "   ...", *lines[totals - STORY_LINES : end + 1]]
    # Where this machine keeps its temporary files is nobody's business.
    shown = [line for line in shown if not any(word in line for word in _NOT_SHOWN)]
    console = Console(
        record=True, file=StringIO(), width=COLUMNS, force_terminal=True, color_system="truecolor"
    )
    for line in shown:
        console.print(Text.from_ansi(line), no_wrap=True, overflow="crop")
    svg = console.export_svg(title="make demo", code_format=_SVG, unique_id="demo")
    (PICTURES / "demo.svg").write_text(svg, encoding="utf-8")


def photograph(address: str) -> None:
    """The open loops on a desk, and one referral's story on a phone."""
    from playwright.sync_api import sync_playwright

    chromium = next(
        filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
    )
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1000, "height": 700})
        page.goto(address)
        page.screenshot(path=PICTURES / "console.png")
        story = page.locator("a[href*='/console/referrals/']").first.get_attribute("href")
        phone = browser.new_page(viewport={"width": 400, "height": 860})
        phone.goto(f"{address.removesuffix('/console')}{story}")
        phone.screenshot(path=PICTURES / "story.png")
        browser.close()


if __name__ == "__main__":
    sys.exit(main())
