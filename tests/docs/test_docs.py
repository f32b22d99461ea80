"""The documentation works, is complete and says what the package's tables say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from veltix_tx.cli import STATUSES

from .conftest import ROOT, shell_lines
from .not_run import NOT_RUN

PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_FENCES = re.compile(r"^```(\w*|\{[\w-]+\})\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def _languages(page: Path) -> set[str]:
    return {language for language, _ in _FENCES.findall(page.read_text(encoding="utf-8"))}


RUNNABLE = [_name(page) for page in PAGES if page.name != "README.md" and _languages(page) & {"python", "sh"}]


@pytest.mark.parametrize("page", RUNNABLE)
def test_page_runs_from_top_to_bottom(run_page, page):
    """Every program, test and shell line of a page works, on free ports."""
    run_page(page)


_COMMAND = re.compile(r"(?:\w+=\S+ )*(?:\.venv/bin/)?(?:python3?|pip|pytest|trial|twistd|veltix|ulimit|kill -[A-Z]+) \S")
"""The beginning of a line to type."""


def _typed(page: Path) -> set[str]:
    """Return what the shell fences of a page have one type, each part of an ``&&`` by itself."""
    fences = [body for language, body in _FENCES.findall(page.read_text(encoding="utf-8")) if language == "sh"]
    return {part for fence in fences for line in shell_lines(fence) for part in line.removesuffix(" &").split(" && ")}


def _in_sentences(page: Path) -> set[str]:
    """Return the commands that a page's sentences quote."""
    text = _FENCES.sub("", page.read_text(encoding="utf-8"))
    return {" ".join(quoted.split()) for quoted in re.findall(r"`([^`]+)`", text) if _COMMAND.match(quoted)}


def test_commands_are_in_shell_fences():
    """A line to type is in a ``sh`` fence, where it is run as it stands or listed with the reason why not."""
    assert [
        (_name(page), line)
        for page in PAGES
        for language, body in _FENCES.findall(page.read_text(encoding="utf-8"))
        if language == "text"
        for line in body.splitlines()
        if _COMMAND.match(line)
    ] == []


def test_where_pytest_comes_from_is_said():
    """A page that has one type pytest says before how to install it: who has installed the package alone has none."""
    for page in PAGES:
        before, found, _ = page.read_text(encoding="utf-8").partition("```sh\npytest ")
        assert not found or "`pip install '.[test]'`" in before, _name(page)


def test_what_is_not_run_is_still_there():
    """Each line that is listed as not run is in a page, and has a reason."""
    assert set(NOT_RUN) - set().union(*map(_typed, PAGES), *map(_in_sentences, PAGES)) == set()
    assert all(NOT_RUN.values())


def test_commands_in_sentences_work(runner):
    """A command that a sentence quotes works as it stands, but for what a page has one type and what is listed as not run."""
    for line in sorted(set().union(*map(_in_sentences, PAGES)) - set().union(*map(_typed, PAGES)) - set(NOT_RUN)):
        runner.run(line)


def test_fences_are_of_known_kinds():
    """A fence is Python or shell, which is run, plain text, or a directive of Sphinx's."""
    assert set().union(*map(_languages, PAGES)) <= {"python", "sh", "text", "{toctree}", "{eval-rst}"}


def test_generated_blocks_are_up_to_date(generate):
    """The tables in the pages are those of the package; ``python docs/generate.py`` makes them so."""
    assert [
        _name(page)
        for page in generate.pages()
        if generate.rewritten(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")
    ] == []
    shown = set(re.findall(r"<!-- generated: ([a-z ]+) -->", "".join(page.read_text(encoding="utf-8") for page in PAGES)))
    assert shown == set(generate.BLOCKS)


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_links_lead_somewhere(page):
    """A relative link names a file of the checkout, and a heading that is in it."""
    for target in re.findall(r"\]\(([^)]+)\)", _FENCES.sub("", page.read_text(encoding="utf-8"))):
        assert "://" not in target, target
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if file.suffix == ".png":
            continue
        headings = re.findall(r"^#+ (.*)", file.read_text(encoding="utf-8"), re.MULTILINE)
        assert not anchor or anchor in [heading.lower().replace(" ", "-") for heading in headings], target


def test_the_table_of_statuses_is_the_commands():
    """The page of the command lists every exit status as ``veltix --help`` does."""
    page = (ROOT / "docs" / "howto" / "command.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| (\d+) \| (.*) \|$", page, re.MULTILINE)) == {str(key): said for key, said in STATUSES.items()}


def test_every_page_is_reached():
    """The overview links every page."""
    docs = ROOT / "docs"
    linked = set(re.findall(r"\]\(([^)]+)\)", (docs / "index.md").read_text(encoding="utf-8")))
    assert {page.relative_to(docs).as_posix() for page in docs.rglob("*.md")} - linked == {"index.md"}


_ROW = re.compile(r"^\| (?:Where|How) .*? \| (.*) \| (.*) \|$", re.MULTILINE)


def test_where_things_are_is_true():
    """Each file that the page for contributors names is there, and has what the page says is in it."""
    text = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    package = ROOT / "veltix_tx"
    by_hand = text.partition("## The tree")[0] + text.partition("<!-- end -->")[2]
    files = re.findall(r"`([\w/.]+\.(?:py|c))`", by_hand)

    assert [name for name in files if not (package / name).exists() and not (ROOT / name).exists()] == []
    for places, names in _ROW.findall(text):
        code = "".join((package / file).read_text(encoding="utf-8") for file in re.findall(r"`([^`]+[.]py)`", places))
        for name in re.findall(r"`([^`]+)`", names):
            assert re.search(rf"^ *(?:def|class) {name.split('.')[-1]}\b|^{name}\b", code, re.MULTILINE), (places, name)


def test_pages_name_no_machine():
    """No absolute path, no address but this machine's and every interface's."""
    for page in [*PAGES, *(ROOT / "examples").glob("*.py")]:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"(?<![\w.:/])/(?:home|work|tmp|usr|run|var)/", text), page
        assert set(re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)) <= {"127.0.0.1", "0.0.0.0"}, page
