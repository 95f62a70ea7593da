"""The code blocks of every README file, for the tests that run them."""

from itertools import pairwise
from pathlib import Path

import attrs
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "tests" / "examples"
PAGES = [
    ROOT / "README.md",
    *(
        page
        for folder in ("benchmarks", "bcshopper", "tests")
        for page in sorted((ROOT / folder).rglob("README.md"))
    ),
]


@attrs.frozen
class Block:
    """A code block, and the comment right above it, which says what it is if that is not plain.

    `<!-- excerpt: FILE -->`: lines of a file; a line of three dots stands for some left out.
    `<!-- command: NAME -->`: one of README's two commands, for a shell in a fresh clone.
    """

    page: Path
    line: int
    language: str
    text: str
    comment: str

    @property
    def name(self):
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    @property
    def excerpt(self):
        """The file that it is an excerpt of, or None."""
        kind, _, file = self.comment.partition(": ")
        return ROOT / file if kind == "excerpt" else None


def _read(page):
    # what stands before a block, which may be nothing
    tokens = [None, *MarkdownIt().parse(page.read_text())]
    for above, token in pairwise(tokens):
        if token.type == "fence":
            comment = above.content.strip() if above and above.type == "html_block" else ""
            yield Block(
                page=page,
                line=token.map[0] + 1,
                language=token.info,
                text=token.content,
                comment=comment.removeprefix("<!-- ").removesuffix(" -->"),
            )


BLOCKS = [block for page in PAGES for block in _read(page)]
EXCERPTS = [block for block in BLOCKS if block.excerpt]
PYTHON = [block for block in BLOCKS if block.language == "python" and not block.excerpt]
READERS_TESTS = [block for block in PYTHON if "def test_" in block.text]
PROGRAMS = [block for block in PYTHON if block not in READERS_TESTS]


def commands(page):
    """The command lines of a page's consoles."""
    return [
        line.removeprefix("$ ")
        for block in BLOCKS
        if (block.page, block.language) == (page, "console")
        for line in block.text.splitlines()
        if line.startswith("$ ")
    ]


def environment(sandbox):
    """What README has its readers set."""
    return {
        "BIGCOMMERCE_STORE_HASH": sandbox.store_hash,
        "BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token,
        "BIGCOMMERCE_BASE_URL": sandbox.url,
    }
