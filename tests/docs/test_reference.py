"""The API reference that pdoc makes of the docstrings."""

import inspect
import re

import pdoc
import pytest

import bcshopper
import bcshopper.errors
import bcshopper.events
import bcshopper.fleet
import bcshopper.sandbox

MODULES = [bcshopper, bcshopper.errors, bcshopper.events, bcshopper.fleet, bcshopper.sandbox]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """The page of each public module."""
    for module in MODULES:  # pdoc sees what is there, and not what is imported late
        for name in module.__all__:
            getattr(module, name)
    folder = tmp_path_factory.mktemp("reference")
    pdoc.pdoc(*(module.__name__ for module in MODULES), output_directory=folder)
    return {
        module: (folder / f"{module.__name__.replace('.', '/')}.html").read_text()
        for module in MODULES
    }


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_reference_has_every_public_verb_with_its_docstring(module, pages):
    """Whoever generates it misses nothing that an editor shows."""
    missing = []
    for name in module.__all__:
        thing = getattr(module, name)
        if not inspect.isclass(thing):
            continue
        verbs = [
            attribute
            for attribute, value in vars(thing).items()
            if not attribute.startswith("_") and inspect.isroutine(value)
        ]
        for verb in verbs:
            div = rf'<div id="{name}\.{verb}"[^>]*>(.*?)</div>\s*</div>'
            section = re.search(div, pages[module], re.DOTALL)
            if section is None or "docstring" not in section[1]:
                missing.append(f"{name}.{verb}")
    assert missing == []
    assert "Session" not in module.__all__ or 'id="Session.from_env"' in pages[module]
