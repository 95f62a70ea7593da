"""How many faults of a character or two the tests notice: `python tests/mutants.py`.

Each mutant is a copy of the package with one such fault, by cosmic-ray's operators, in one of the
modules that decide without I/O. The tests named beside that module here are run against it, until
one fails. Printed: how many were killed, and who survived without a reason in `mutants.toml`.

Of all mutants a sample is drawn, with a fixed seed: `--of 1` takes all of them, which takes hours.
"""

import argparse
import ast
import os
import random
import shutil
import signal
import sys
import tempfile
import tomllib
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import attrs

ROOT = Path(__file__).parent.parent
TESTS = {
    "_transport/retry.py": ["transport/test_retry.py", "batch/test_lost_answers.py"],
    "_transport/problems.py": ["transport/test_problems.py", "transport/test_convert.py"],
    "_inputs.py": ["test_inputs.py", "test_session.py", "batch/test_batch.py", "test_no_wipe.py"],
    "_batch/halving.py": ["batch/test_halving.py"],
    "_batch/ledger.py": ["batch/test_ledger.py", "batch/test_batch.py"],
    "_listing/walk.py": ["listing/test_checks.py", "listing/test_walk.py"],
    "_listing/consistent.py": ["listing/test_consistent.py"],
    "_quota/local.py": [
        "quota/test_states.py", "quota/test_leased.py", "quota/test_local.py",
        "quota/test_waits.py",
    ],
    "_quota/leased.py": ["quota/test_states.py", "quota/test_leased.py"],
    "_profiles/backlog.py": ["profiles/test_backlog.py", "profiles/test_coalescer.py"],
    "_segments/sync.py": ["segments/test_sync.py"],
}  # fmt: skip
# Those of these tests that take long and find little.
LEFT_OUT = "smooth_pacing_spreads or what_other_apps or real_time or costs_next_to_nothing"
# Of the operators of a kind one that tells: replacing `+` by each other
# operator, one after the other, would say the same ten times.
OPERATORS = [
    "AddNot", "NumberReplacer", "ReplaceAndWithOr", "ReplaceOrWithAnd", "ReplaceTrueWithFalse",
    "ReplaceFalseWithTrue", "ReplaceBreakWithContinue", "ReplaceContinueWithBreak",
    "ReplaceUnaryOperator_Delete_Not", "ReplaceUnaryOperator_USub_UAdd", "ZeroIterationForLoop",
    "RemoveDecorator",
    *(f"ReplaceBinaryOperator_{pair}" for pair in (
        "Add_Sub", "Sub_Add", "Mul_Div", "Div_Mul", "FloorDiv_Mul", "Mod_Mul", "Pow_Mul",
        "BitOr_BitAnd", "BitAnd_BitOr", "BitXor_BitOr",
    )),
    *(f"ReplaceComparisonOperator_{pair}" for pair in (
        "Eq_NotEq", "NotEq_Eq", "Is_IsNot", "IsNot_Is", "Lt_LtE", "Lt_GtE", "LtE_Lt", "LtE_Gt",
        "Gt_GtE", "Gt_LtE", "GtE_Gt", "GtE_Lt",
    )),
]  # fmt: skip
SLOWEST = 120  # seconds; a mutant that runs for longer is one that hangs, and so was noticed


@attrs.frozen
class Mutant:
    """A module with one fault.

    Attributes:
        module: its path in the package.
        line: the number of the line.
        before: that line as it is, without the space around it.
        after: as it is in the mutant.
        source: the whole module.
    """

    module: str
    line: int
    before: str
    after: str
    source: str = attrs.field(repr=False)


def mutants_of(module):
    """All mutants of a module that mean something else than it does."""
    from cosmic_ray.mutating import mutate_code
    from cosmic_ray.plugins import get_operator

    source = (ROOT / "bcshopper" / module).read_text()
    seen = {meaning_of(source)}
    for name in OPERATORS:
        operator = get_operator(f"core/{name}")()
        occurrence = 0
        while mutated := mutate_code(source, operator, occurrence):
            occurrence += 1
            try:
                meaning = meaning_of(mutated)
            except SyntaxError:
                continue
            if meaning not in seen:
                seen.add(meaning)
                yield where(module, source, mutated)


def meaning_of(source):
    """What a module does: its tree without annotations, which nobody evaluates here.

    Nor does it matter whether arguments may be given by place, by name or either way: the star in
    a signature is no multiplication, though the operators take it for one.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arguments):
            node.args = [*node.posonlyargs, *node.args, *node.kwonlyargs]
            node.defaults += [default for default in node.kw_defaults if default is not None]
            node.posonlyargs = node.kwonlyargs = node.kw_defaults = []
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.AnnAssign):
            node.annotation = ast.Constant(None)
    return ast.dump(tree)


def where(module, source, mutated):
    """The mutant, with the first line that differs."""
    before, after = source.splitlines(), mutated.splitlines()
    n = next(n for n, (a, b) in enumerate(zip(before, after, strict=False)) if a != b)
    return Mutant(module, n + 1, before[n].strip(), after[n].strip(), mutated)


def is_killed(mutant):
    """Whether a test fails on it, or none ends."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "bcshopper", Path(folder, "bcshopper"))
        Path(folder, "bcshopper", mutant.module).write_text(mutant.source)
        child = os.fork()
        if child == 0:
            os._exit(test(folder, TESTS[mutant.module]))
        _, status = os.waitpid(child, 0)
    return status != 0


def test(folder, names):
    """Run these tests on the package in a folder, silently; 0 if all of them pass."""
    import pytest

    signal.alarm(SLOWEST)
    sys.dont_write_bytecode = True
    sys.path.insert(0, folder)
    os.chdir(ROOT)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)
    os.dup2(null, 2)
    try:
        import bcshopper  # now: pytest puts the checkout first

        assert bcshopper.__file__.startswith(folder)
        code = pytest.main([
            *(f"tests/{name}" for name in names), "-k", f"not ({LEFT_OUT})",
            "--exitfirst", "--numprocesses=0", "--quiet", "-p", "no:cacheprovider",
            "-W", "ignore::pytest.PytestAssertRewriteWarning",
            "--override-ini", "asyncio_debug=false",
        ])  # fmt: skip
    except BaseException:  # noqa: BLE001 - whatever a mutant does
        return 1
    return int(code)


def warm():
    """What every mutant's tests need, imported once."""
    import aiohttp.web
    import cattrs.preconf.msgspec
    import hypothesis.stateful

    _ = aiohttp.web, cattrs.preconf.msgspec, hypothesis.stateful


def main():
    """Print what became of the mutants; 1 if too many survive."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="of the package")
    parser.add_argument("--of", type=int, default=10, help="one mutant of so many is tried")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    listed = tomllib.loads((ROOT / "tests" / "mutants.toml").read_text())["survivor"]
    reasons = {(m["module"], m["before"], m["after"]): m["reason"] for m in listed}
    killed, survived, excused = Counter(), Counter(), Counter()
    with ProcessPoolExecutor(options.processes, initializer=warm) as pool:
        for module in options.modules:
            source = (ROOT / "bcshopper" / module).read_text()
            if pool.submit(is_killed, Mutant(module, 0, "", "", source)).result():
                sys.exit(f"the tests of {module} fail without any mutant")
            everyone = list(mutants_of(module))
            chosen = random.Random(options.seed).sample(everyone, -(-len(everyone) // options.of))
            for mutant, died in zip(chosen, pool.map(is_killed, chosen), strict=True):
                if died:
                    killed[module] += 1
                elif (mutant.module, mutant.before, mutant.after) in reasons:
                    excused[module] += 1
                else:
                    survived[module] += 1
                    print(f"{module}:{mutant.line}\n  - {mutant.before}\n  + {mutant.after}")
            counts = killed[module], excused[module], survived[module]
            print(
                f"{module}: {counts[0]} killed, {counts[1]} excused, {counts[2]} survived",
                flush=True,
            )
    everyone = killed.total() + survived.total() + excused.total()
    print(
        f"{killed.total()} of {everyone} killed, {killed.total() / everyone:.1%}; of the others "
        f"{excused.total()} have a reason in tests/mutants.toml, {survived.total()} have none"
    )
    return survived.total() > 0


if __name__ == "__main__":
    sys.exit(main())
