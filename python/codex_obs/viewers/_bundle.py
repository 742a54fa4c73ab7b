"""The page as one file: modules in one script, styles and icon inside, and a policy that allows no request."""

from __future__ import annotations

import base64
import hashlib
import re
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([\w.]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?(const|let|function|class) (\w+))", re.MULTILINE)
_LIVE = re.compile(r"^export let (\w+)", re.MULTILINE)
_ENTRY = "main.js"
_ANSWERS = "offline.js"


def page(assets: Mapping[str, Path], title: str, held: bytes) -> str:
    """Give the page that answers its questions from `held`, which is text in base 64.

    Args:
        assets: Files of the page by name.
        title: What it is called.
        held: What the module ``offline.js`` answers from.
    """
    texts = {name: path.read_text() for name, path in assets.items()}
    styles = [texts["uPlot.min.css"], texts["style.css"]]
    scripts = [texts["uPlot.iife.js"], script(texts)]
    icon = "data:image/svg+xml;base64," + base64.b64encode(texts["icon.svg"].encode()).decode()
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hashes(styles)}; script-src {_hashes(scripts)}; "
        "base-uri 'none'; form-action 'none'; require-trusted-types-for 'script'"
    )
    head = "".join(f"<style>{style}</style>\n" for style in styles)
    tail = (
        f'<script type="text/plain" id="held">{held.decode("ascii")}</script>\n'
        f"<script>{scripts[0]}</script>\n"
        f'<script type="module">{scripts[1]}</script>\n'
    )
    html = re.sub(r"<(link|script)\b[^>]*>(</script>)?\n", "", texts["index.html"])
    html = html.replace('src="icon.svg"', f'src="{icon}"')
    html = re.sub("<title>.*?</title>", lambda _: f"<title>{escape(title)}</title>", html)
    meta = f'<meta http-equiv="Content-Security-Policy" content="{escape(policy)}">\n<link rel="icon" href="{icon}">\n'
    # The policy comes first: it holds for what stands behind it.
    html = html.replace('<meta charset="utf-8">\n', f'<meta charset="utf-8">\n{meta}', 1)
    return html.replace("</head>", head + "</head>", 1).replace("</body>", tail + "</body>", 1)


def script(texts: Mapping[str, str]) -> str:
    """Put the modules of the page into one, each in a scope of its own, in the order in which they run."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for imported in _IMPORT.findall(texts[name]):
                visit(imported)
            order.append(name)

    visit(_ANSWERS)
    visit(_ENTRY)
    return "\n".join(_scope(texts[name]) for name in order)


def _scope(text: str) -> str:
    names = [name for _, name in _EXPORT.findall(text)]
    # What a module changes later is declared outside, so that others see the change.
    live = _LIVE.findall(text)
    body = _EXPORT.sub("", _LIVE.sub(r"\1", _IMPORT.sub("", text)))
    # The end of a script within a script would end it.
    body = body.replace("</script", "<\\/script").replace("<!--", "<\\!--")
    given = ", ".join(name for name in names if name not in live)
    declared = "".join(f"let {name};\n" for name in live)
    return f"{declared}const {{ {given} }} = await (async () => {{\n{body}\nreturn {{ {given} }};\n}})();"


def _hashes(texts: list[str]) -> str:
    digests = (hashlib.sha256(text.encode()).digest() for text in texts)
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
