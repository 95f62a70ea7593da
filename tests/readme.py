"""README's code blocks, for the tests that run them."""

from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

README = (Path(__file__).parent.parent / "README.md").read_text()
_TOKENS = MarkdownIt().parse(README)
_MARK = "<!-- example: "
EXAMPLES = {
    mark.content.strip().removeprefix(_MARK).removesuffix(" -->"): block.content
    for mark, block in pairwise(_TOKENS)
    if block.type == "fence" and mark.content.startswith(_MARK)
}
"""Files of the worked examples, by the name in the comment above each. They need a broker or a
database: `test_example_*.py` runs them, as programs."""
FENCES = [t for t in _TOKENS if t.type == "fence"]
PYTHON = [t for t in FENCES if t.info == "python" and t.content not in EXAMPLES.values()]


def environment(sandbox):
    """What README has its readers set."""
    return {
        "BIGCOMMERCE_STORE_HASH": sandbox.store_hash,
        "BIGCOMMERCE_ACCESS_TOKEN": sandbox.access_token,
        "BIGCOMMERCE_BASE_URL": sandbox.url,
    }
