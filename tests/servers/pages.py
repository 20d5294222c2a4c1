"""HTML pages as they are read: their words, and whatever in them could load, run or hide something."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from eva_data.foreign import HIDDEN

VOID = {"meta", "input", "br", "link", "img"}
NEVER = {"script", "iframe", "object", "embed", "link", "base", "form", "img", "image", "use:remote", "animate", "set"}


class Read(HTMLParser):
    """A page as a browser takes it in."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.unbalanced: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.unbalanced.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def dangers(html: str) -> list[str]:
    """What in a page could act: elements, attributes and addresses that it must not have; hidden characters."""
    read = Read(html)
    found = [f"</{tag}> closes nothing" for tag in read.unbalanced] + [f"<{tag}> stays open" for tag in read.open]
    for tag, attributes in read.elements:
        if tag in NEVER:
            found.append(f"<{tag}>")
        for name, value in attributes.items():
            loads = name in ("href", "src", "xlink:href", "srcset") and not (value or "").startswith("#")
            if loads or name.startswith("on"):
                found.append(f"<{tag} {name}={value!r}>")
            if name == "style" and re.search(r"url\((?!#)|expression|@import", value or ""):
                found.append(f"<{tag} style={value!r}>")
    styles = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    found += [f"style: {bad}" for style in styles for bad in re.findall(r"url\(|@import|https?:", style)]
    return found + [f"hidden: {character!r}" for character in set(HIDDEN.findall(html)) - {"\n", "\t"}]
