"""Look over the built site: every link inside it leads somewhere, and the search finds what people look for.

`python docs/site_checks.py docs/_build/html` prints what is wrong, a line each, and fails if there is any.
"""

from __future__ import annotations

import functools
import json
import re
import sys
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

WANTED = {
    "muon": "reference/muon",
    "MultiSteps": "quickstart",
    "ReduceLROnPlateau": "reference/compat.torch.schedules.ReduceLROnPlateau",
    "betas": "reference/compat.torch.adam",
}
"""What somebody types, and a page that is to be among what is found."""
LINK = re.compile(r"<(?:a|img|link|script)\b[^>]*?\b(?:href|src)=\"([^\"]+)\"")
ANCHOR = re.compile(r"\bid=\"([^\"]+)\"")


def broken_links(site: Path) -> Iterator[str]:
    @functools.cache
    def anchors(path: Path) -> set[str]:
        return set(ANCHOR.findall(path.read_text())) | {"", "top"}

    seen: set[tuple[Path, str]] = set()
    for page in sorted(site.rglob("*.html")):
        for link in set(LINK.findall(page.read_text())):
            parts = urlsplit(unescape(link))
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page.resolve()
            if (target, parts.fragment) in seen:
                continue
            seen.add((target, parts.fragment))
            if not target.is_file():
                yield f"{page.relative_to(site)}: {link} leads nowhere"
            elif target.suffix == ".html" and unquote(parts.fragment) not in anchors(target):
                yield f"{page.relative_to(site)}: {link} has no such anchor"


def found(site: Path, word: str) -> set[str]:
    """The pages that the search of the site finds for a word, by title, text or name."""
    from sphinx.search.en import SearchEnglish

    text = (site / "searchindex.js").read_text()
    index = json.loads(text[text.index("{") : text.rindex("}") + 1])
    stem = SearchEnglish({}).stem(word.lower())
    pages: set[int] = set()
    for table in (index["terms"], index["titleterms"]):
        hits = table.get(stem, [])
        pages |= {hits} if isinstance(hits, int) else set(hits)
    for objects in index["objects"].values():
        pages |= {entry[0] for entry in objects if word.lower() in entry[-1].lower()}
    return {index["docnames"][i] for i in pages}


def unfound(site: Path) -> Iterator[str]:
    for word, page in WANTED.items():
        if page not in (pages := found(site, word)):
            yield f"the search for {word!r} finds {len(pages)} pages, and not {page}"


def main(site: Path) -> int:
    wrong = [*broken_links(site), *unfound(site)]
    print(*wrong, sep="\n", end="\n" if wrong else "")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
