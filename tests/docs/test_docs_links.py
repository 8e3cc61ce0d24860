"""Links of the README and of docs/: each leads to a file that is there, and to a heading in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pages import ROOT, anchors, links

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
PAGES += sorted((ROOT / "benchmarks").glob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    lost = []
    for link in links(page):
        if "://" in link or link.startswith("mailto:"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT) or (anchor and anchor not in anchors(target)):
            lost.append(link)
    assert not lost


def test_the_index_lists_every_page() -> None:
    index = ROOT / "docs/README.md"
    listed = {(index.parent / link.partition("#")[0]).resolve() for link in links(index) if "://" not in link}
    wanted = set((ROOT / "docs").glob("*.md")) | set((ROOT / "docs").glob("*/README.md"))
    assert not wanted - {index} - listed


def test_what_counts_as_a_link_and_an_anchor(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A b: `c`, d's\n\n## Twice\n## Twice\n```sh\n# no heading [x](y)\n```\n[a](b.md#c) ![d](e.png) `[f](g)`\n")
    assert anchors(page) == {"a-b-c-ds", "twice", "twice-1"} and links(page) == ["b.md#c", "e.png"]
