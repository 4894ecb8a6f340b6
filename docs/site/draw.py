"""Draws the diagrams of the documents as SVG, after a change of one. It needs Chromium and the npm package mermaid.

>>> npm pack mermaid@11 && tar xzf mermaid-11*.tgz
>>> python docs/site/draw.py package/dist/mermaid.min.js
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from pages import DIAGRAMS, FENCE, REPOSITORY, name_diagram

SCALE = 0.7

PAGE = """<!doctype html><meta charset="utf-8"><script src="{script}"></script><body><script>
const themeCSS = "foreignObject {{ overflow: visible; }}";
const themeCSS = "foreignObject {{ overflow: visible; }}";
mermaid.initialize({{startOnLoad: false, theme: "neutral", fontFamily: "sans-serif", themeCSS}});
mermaid.render("diagram", {source}).then(({{svg}}) => {{ document.body.innerHTML = svg; }});
</script>"""


def list_diagrams() -> dict[str, str]:
    """The text of every diagram, by the name of its picture."""
    files = [*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")]
    fences = [fence for file in sorted(files) for fence in FENCE.finditer(file.read_text())]
    return {name_diagram(fence[2]): fence[2] for fence in fences if fence[1] == "mermaid"}


def draw(source: str, script: Path, chromium: str) -> str:
    """The SVG of a diagram, by the library itself in a browser without a network."""
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        page.write_text(PAGE.format(script=script.resolve().as_uri(), source=json.dumps(source)))
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=20000", "--dump-dom"]
        command = [chromium, *options, f"--user-data-dir={folder}/profile", page.as_uri()]
        dumped = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"<svg.*</svg>", dumped, flags=re.DOTALL)
    if not found:
        sys.exit(f"FAIL: diagram: expected an SVG from Chromium, found none; correct the diagram: {source[:100]}")
    # HTML leaves its empty elements open, XML does not.
    return fix_size(found[0].replace("<br>", "<br/>")) + "\n"


def fix_size(svg: str) -> str:
    """Returns the SVG with a size of its own, at which its text is as large as that of a page."""
    width, height = re.findall(r'viewBox="\S+ \S+ (\S+) (\S+)"', svg)[0]
    size = f'width="{float(width) * SCALE:.0f}" height="{float(height) * SCALE:.0f}"'
    return re.sub(r'width="100%"(.*?) style="max-width: [^"]*"', rf"{size}\1", svg, count=1)


if __name__ == "__main__":
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None or len(sys.argv) != 2:
        sys.exit("FAIL: expected Chromium in PATH and the path of mermaid.min.js; see the top of this file")
    diagrams = list_diagrams()
    for old in set(DIAGRAMS.glob("*.svg")) - {DIAGRAMS / name for name in diagrams}:
        old.unlink()
    DIAGRAMS.mkdir(exist_ok=True)
    for name, text in diagrams.items():
        if not (DIAGRAMS / name).exists():
            (DIAGRAMS / name).write_text(draw(text, Path(sys.argv[1]), program))
            print(f"{name}: {text.splitlines()[1].strip()[:60]}")
