"""`bcshopper fleet`: what its page does not show."""

import pytest

from tests.cli import bcshopper, rows


def fleet(*arguments, database, **settings):
    return bcshopper("fleet", *arguments, "--database", database, **settings)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("worker", "--store", "abc"), "leave out --store"),
        (("worker", "--sandbox"), "leave out --sandbox"),
        (("submit", "delete", "--all-customers"), "goes with create"),
        (("submit", "create", "x"), "is not a customer id"),
        (("submit", "sync", "1"), "sync needs a segment"),
        (("submit", "create"), "no ids in <stdin>"),
        (("status", "nightly"), "there is no job 'nightly'"),
        (("outcomes", "nightly"), "there is no job 'nightly'"),
    ],
)
def test_what_can_not_be_is_refused_in_words(arguments, words, file_database):
    """With the exit code of bad usage, and no job is there."""
    done = fleet(*arguments, database=file_database)
    assert done.returncode == 2, done
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert rows(fleet("status", database=file_database).stdout) == []


def test_bad_lines_may_be_left_out_and_a_repeat_changes_nothing(file_database, tmp_path):
    """As with every command that takes ids; the store is the profile's name."""
    given = tmp_path / "ids.csv"
    given.write_text("customer_id\n1\nx\n2\n1\n")
    submit = ("submit", "create", "--profile", "A", "--from", given, "--job", "night")
    assert fleet(*submit, database=file_database).returncode == 2
    for words in "is submitted", "there already":
        done = fleet(*submit, "--skip-bad", database=file_database)
        assert (done.returncode, words in done.stderr) == (0, True), done
    assert (tmp_path / "ids.rejects.csv").read_text() == "customer_id\nx\n"
    (status,) = rows(fleet("status", "night", database=file_database).stdout)
    assert (status["store"], status["verb"], status["open"]) == ("A", "create", 2)


def test_a_database_that_is_away_is_said_so(tmp_path):
    """In one line, without its password."""
    url = "postgresql://somebody:pa55word@127.0.0.1:9/nowhere"
    done = fleet("status", database=url)
    assert done.returncode == 4
    assert "the database:" in done.stderr
    assert "pa55word" not in done.stderr
    assert "Traceback" not in done.stderr
