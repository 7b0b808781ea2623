"""The language of code and prose: words that were replaced must not come back.

Punchcard uses the words of Segment, SQL, message queues and web frameworks (see the glossary). This test rejects names
and phrases that are private dialect, each with its reason and the word to use instead. Add a row when a review finds
another one; keep the lists short, and free of words that have a legitimate use.
"""

import ast
import io
import re
import tokenize
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

import pytest

ROOT = Path(__file__).parents[2]


class Word(NamedTuple):
    """A word or phrase that is not used any more."""

    text: str
    instead: str
    reason: str


PRONOUN: Final = "a variable is named by the noun that it holds"
CLAUSE: Final = "a function is a verb phrase, a value is a noun; this is a part of a sentence"
RENAMED: Final = "renamed; one word per thing"

# Rejected as a whole name.
NAMES: Final = (
    Word("one", "the noun: `row`, `event`, `effect`, `path`", PRONOUN),
    Word("some", "the noun in the plural, or `sample`", PRONOUN),
    Word("found", "`match`, `matches`, or the noun: `rows`, `profile`", PRONOUN),
    Word("wanted", "`expected`, `required`, `requested`, or the noun", PRONOUN),
    Word("fresh", "`new_…`, `latest_…`, or the noun", PRONOUN),
    Word("kept", "`stored`, `retained`, `managed`, or the noun", PRONOUN),
    Word("gone", "`removed`, `deleted`, `expired`", PRONOUN),
    Word("who", "`operator`, `profile`, `email`, `actor`", PRONOUN),
    Word("wrong", "`problems`, `error`, `invalid`", PRONOUN),
    Word("answer", "`response` of HTTP, `result` of a call", RENAMED),
    Word("answers", "`responses`, `results`", RENAMED),
    Word("Parts", "`Dependencies`", RENAMED),
    Word("Visit", "`RequestContext`", RENAMED),
    Word("Claim", "`PlannedEffect`", RENAMED),
    Word("Offer", "`MappingChoice`", RENAMED),
    Word("Concern", "`AlertKind`", RENAMED),
    Word("Matter", "`Alert`", RENAMED),
    Word("matter", "`alert`", RENAMED),
)
# Rejected as a word of a name, such as `told` in `told_at` and `OrderStanding`.
PARTS: Final = (
    Word("said", "`message`, `text`, `response`", CLAUSE),
    Word("asked", "`requested`, or the noun", CLAUSE),
    Word("told", "`synced`, `notified`, `shown`", CLAUSE),
    Word("untold", "`unsynced`", RENAMED),
    Word("telling", "`sync`", RENAMED),
    Word("teller", "`SyncDispatcher`", RENAMED),
    Word("standing", "`current`, `existing`, `status`", RENAMED),
    Word("whose", "`identity`, `owner`, `profile_of`", CLAUSE),
    Word("fate", "`result`, `status`", RENAMED),
    Word("fates", "`results`, `statuses`", RENAMED),
    Word("story", "`trace`", RENAMED),
    Word("judge", "`oracle` in tests, `classify` in code", RENAMED),
    Word("judged", "`evaluated`, `classified`", RENAMED),
    Word("judges", "`evaluates`, `classifies`", RENAMED),
    Word("judgement", "`outcome`, `classification`", RENAMED),
    Word("lane", "`ordering_key`", RENAMED),
    Word("lanes", "`ordering_keys`", RENAMED),
    Word("road", "`path`, `pipeline`", RENAMED),
    Word("anew", "`again`, `new`", CLAUSE),
    Word("mended", "`fixed`, `repaired`", RENAMED),
    Word("by_hand", "`operator_actions`, `manual`", CLAUSE),
)
# Rejected in pages, messages, docstrings, comments and documents. Regular expressions; a blank is any white space.
PHRASES: Final = (
    Word(
        r"(?<!there )(?<!there's )\bis\s+no\s+(?!longer\b|more\b|different\b|such\b)",
        "is not a …",
        "not idiomatic English",
    ),
    Word(
        r"\b(?:un)?told\b", "shown, notified, synced, described, told apart: distinguished", "who tells whom is unclear"
    ),
    Word(r"\bsaid\b", "stated, returned, shown, sent", "code and pages do not speak"),
    Word(r"\bwhose\b", "name the subject: 'the profile of the event'", "a clause that leaves its subject open"),
    Word(r"\broad\b", "path, pipeline", "a private metaphor"),
    Word(r"\bfates?\b", "result, status", RENAMED),
    Word(r"\bstor(?:y|ies)\b", "trace", RENAMED),
    Word(r"\bof before\b", "earlier, previous", "not idiomatic English"),
    Word(r"\b(?:is|are|was|were) to be\b", "must be, is … later, or the imperative", "says neither who nor when"),
    Word(r"\b(?:a|needs a|for a) person decides\b", "an operator decides", RENAMED),
    Word(
        r"\bneeds? a person\b|\ba person is needed\b|\bwaits? for a person\b|\bparked for a person\b",
        "needs attention, operator",
        RENAMED,
    ),
    Word(r"\bends? well\b", "succeeds", "not idiomatic English"),
    Word(r"\b(?:brings?|brought) along\b", "includes, requires, carries", "not idiomatic English"),
    Word(r"\bwhat (?:became|becomes) of\b", "status, result, what happened to", RENAMED),
    Word(r"\bputs? (?:\w+ ){0,2}aside\b", "dismiss", "one word for one action"),
    Word(r"\b(?:partner|Perkville)'s (?:own )?words\b", "Perkville's response", RENAMED),
    Word(r"\b(?:came|comes|come|coming) in\b(?! (?:two|three|handy|batches))", "received, arrives", RENAMED),
    Word(r"\bon (?:the|its|their) way\b", "in delivery, in flight, pending", RENAMED),
    Word(r"\bDecided here\b", "Filtered and refused", RENAMED),
    Word(r"\bmend(?:s|ed|ing)?\b", "fix, repair, correct", "archaic"),
    Word(r"\b(?:anew|afresh)\b", "again, from scratch", "archaic"),
    Word(r"\bjudge(?:s|d|ment)?\b", "evaluate, classify", RENAMED),
    Word(
        r"\bstands? (?:in|there|here|beside|below|behind|already|on)\b",
        "is in, is shown, exists",
        "a thing is somewhere",
    ),
    Word(r"\bin step\b", "in sync", RENAMED),
    Word(r"\bwho(?:m)?ever\b", "anyone who, everyone who", "archaic"),
)
MIGRATIONS: Final = "src/punchcard/store/migrations/versions/"  # never edited once released
THIS_FILE: Final = "tests/architecture/test_language.py"  # quotes what it rejects

# Places that still use such words, with how many uses they have. The number of a place may only fall: lower it, and
# delete the row at zero. A place without a row has none.
NAMES_LEFT: Final[dict[str, int]] = {}
PHRASES_LEFT: Final[dict[str, int]] = {
    "src/punchcard/lake": 2,  # names of schema version 1, which old lakes have
    "tests/contract": 2,
}


class Use(NamedTuple):
    """A rejected word where it is used."""

    path: str
    line: int
    text: str
    word: Word

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: `{self.text}`: write {self.word.instead} ({self.word.reason})"


def words_of(name: str) -> set[str]:
    """The lower-case words of a name in snake_case or CamelCase."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def rejected_name(name: str) -> Word | None:
    for word in NAMES:
        if name.lstrip("_") == word.text:
            return word
    words = words_of(name)
    for word in PARTS:
        if word.text in words or (word.text == "by_hand" and "by_hand" in name):
            return word
    return None


def names_in(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Every name that a module defines: functions, classes, parameters, variables, attributes, aliases and columns."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno
            case ast.alias(asname=str(name)):
                yield name, node.lineno
            case ast.ExceptHandler(name=str(name)):
                yield name, node.lineno
            case ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name, node.lineno
            case ast.Call(func=ast.Name(id="Column"), args=[ast.Constant(value=str(name)), *_]):
                yield name, node.lineno


def texts_in(source: str, tree: ast.Module, *, with_messages: bool) -> Iterator[tuple[str, int]]:
    """Docstrings, comments and, if asked for, all other texts of a module, each with the line where it begins."""
    docstrings = set()
    # A docstring is visited after what it describes.
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(
            node, clean=False
        ):
            docstrings.add(id(node.body[0].value))  # type: ignore[attr-defined]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (with_messages or id(node) in docstrings):
            yield node.value, node.lineno
    if "#" not in source:
        return
    comment, begin, last = "", 0, 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != last + 1:
                if comment:
                    yield comment, begin
                comment, begin = "", token.start[0]
            comment, last = f"{comment}{token.string.lstrip('#')}\n", token.start[0]
    if comment:
        yield comment, begin


def prose_of(document: str) -> str:
    """A document without code, generated parts and comments; every line stays on its line."""

    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    for pattern in (r"^ *```.*?^ *```$", r"<!-- \[\[\[cog.*?\[\[\[end\]\]\] -->", r"`[^`\n]*`", r"\]\([^)\s]*\)"):
        document = re.sub(pattern, blank, document, flags=re.DOTALL | re.MULTILINE)
    return document


@cache
def patterns() -> list[tuple[re.Pattern[str], Word]]:
    return [
        # A look-behind must have a fixed width, so such a pattern states its white space itself.
        (re.compile(word.text if "(?<!" in word.text else word.text.replace(" ", r"\s+"), re.IGNORECASE), word)
        for word in PHRASES
    ]


def phrases_in(text: str, path: str, first_line: int = 1) -> Iterator[Use]:
    for pattern, word in patterns():
        for match in pattern.finditer(text):
            line = first_line + text.count("\n", 0, match.start())
            yield Use(path, line, " ".join(match[0].split()), word)


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@cache
def modules() -> list[Path]:
    folders = ("src", "tests", "bench", "release", "assets", "examples", "docs")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts]
    return sorted(path for path in paths if not name_of(path).startswith(MIGRATIONS))


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text())


@cache
def documents() -> list[Path]:
    paths = [*ROOT.glob("*.md"), *ROOT.glob(".github/**/*.md")]
    for folder in ("docs", "examples", "changelog.d", "src"):
        paths += (ROOT / folder).rglob("*.md")
    return sorted(path for path in paths if "node_modules" not in path.parts)


@cache
def templates() -> list[Path]:
    paths = [path for ending in ("*.html", "*.toml") for path in (ROOT / "src").rglob(ending)]
    return sorted(path for path in paths if "node_modules" not in path.parts)


def place_of(path: str) -> str:
    """The package or folder under which the uses of a file are counted."""
    parts = path.split("/")
    if path.startswith("src/punchcard/"):
        return "/".join(parts[:3]) if len(parts) > 3 else "src/punchcard"
    return "/".join(parts[:2]) if parts[0] == "tests" and len(parts) > 2 else (parts[0] if len(parts) > 1 else ".")


@cache
def rejected_names() -> list[Use]:
    uses = []
    for path in modules():
        names = [(path.stem, 1), *names_in(tree_of(path))]
        uses += [Use(name_of(path), line, name, word) for name, line in names if (word := rejected_name(name))]
    return uses


@cache
def rejected_phrases() -> list[Use]:
    uses: list[Use] = []
    for path in modules():
        if name_of(path) == THIS_FILE:
            continue
        is_test = name_of(path).startswith(("tests/", "bench/"))
        for text, line in texts_in(path.read_text(), tree_of(path), with_messages=not is_test):
            uses += phrases_in(text, name_of(path), line)
    for path in documents():
        uses += phrases_in(prose_of(path.read_text()), name_of(path))
    for path in templates():
        uses += phrases_in(path.read_text(), name_of(path))
    return uses


def explain(uses: list[Use], left: dict[str, int], table: str) -> list[str]:
    """What is wrong, a line each: every use in a place that has more than listed, and every number that is too high."""
    counts = Counter(place_of(use.path) for use in uses)
    problems = [str(use) for use in uses if counts[place_of(use.path)] > left.get(place_of(use.path), 0)]
    for place, count in left.items():
        if counts[place] < count:
            problems.append(f"{place}: {count} uses are listed, {counts[place]} are left: lower its row in {table}")
        if counts[place] > count:
            problems.append(f"{place}: {counts[place]} uses, {count} are listed in {table}: reword the new one")
    if problems:
        problems.append(f"{table} as it is now: {dict(sorted(counts.items()))}")
    return problems


def test_names_are_words_of_the_field() -> None:
    problems = explain(rejected_names(), NAMES_LEFT, "NAMES_LEFT")
    assert not problems, "\n" + "\n".join(problems)


def test_prose_is_plain_technical_english() -> None:
    problems = explain(rejected_phrases(), PHRASES_LEFT, "PHRASES_LEFT")
    assert not problems, "\n" + "\n".join(problems)


def test_every_word_names_its_replacement() -> None:
    for word in (*NAMES, *PARTS, *PHRASES):
        assert word.instead, word
        assert word.reason, word


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("for one in rows: pass", "one"),
        ("def tell(told_at): pass", "told_at"),
        ("class OrderStanding: pass", "OrderStanding"),
        ("import people as whose", "whose"),
        ("def f(): self.fate = 1", "fate"),
        ("try: pass\nexcept ValueError as wrong: pass", "wrong"),
        ("match x:\n    case [some, *_]: pass", "some"),
        ("Column('told_at', Text)", "told_at"),
        ("def retry_by_hand(): pass", "retry_by_hand"),
        ("async def judge_all(): pass", "judge_all"),
        ("[x for found in rows]", "found"),
    ],
)
def test_a_rejected_name_is_noticed(source: str, name: str) -> None:
    assert [defined for defined, _ in names_in(ast.parse(source)) if rejected_name(defined)] == [name]


@pytest.mark.parametrize("name", ["foundation", "history", "onboarding", "someone", "islander", "kept_at", "lane_x"])
def test_a_name_is_compared_word_by_word(name: str) -> None:
    rejected = rejected_name(name)
    assert (rejected is not None) is (name == "lane_x")


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("This is no email address.", "is no"),
        ("Destinations were told.", "told"),
        ("what became\n  of the event", "what became of"),
        ("Put it aside.", "Put it aside"),
        ("3 awards are on their way", "on their way"),
        ("Perkville's own words", "Perkville's own words"),
        ("Nothing is to be done", "is to be"),
        ("parked for a person", "parked for a person"),
        ("It goes the one road.", "road"),
        ("The event stands in the ledger.", "stands in"),
    ],
)
def test_a_rejected_phrase_is_noticed(text: str, phrase: str) -> None:
    assert [use.text for use in phrases_in(text, "page.html")][:1] == [phrase]


@pytest.mark.parametrize(
    "text",
    [
        "There is no such event.",
        "It is no longer used.",
        "The stored value is used.",
        "a broad range",
        "`told` and `said`",
    ],
)
def test_plain_words_are_accepted(text: str) -> None:
    assert list(phrases_in(prose_of(text), "page.md")) == []


def test_prose_is_read_at_its_line() -> None:
    document = "One\n\n```text\nis no code\n```\n\nThis is no test.\n"
    assert [use.line for use in phrases_in(prose_of(document), "page.md")] == [7]
    source = '"""Module."""\n\n# This is\n# no test.\nX = "is no text"\n'
    assert sorted(
        use.line
        for text, line in texts_in(source, ast.parse(source), with_messages=True)
        for use in phrases_in(text, "x.py", line)
    ) == [3, 5]
    assert [
        use.line
        for text, line in texts_in(source, ast.parse(source), with_messages=False)
        for use in phrases_in(text, "x.py", line)
    ] == [3]


def test_a_count_may_neither_rise_nor_lag_behind() -> None:
    uses = [Use("src/punchcard/api/app.py", 3, "one", NAMES[0])]
    assert explain(uses, {"src/punchcard/api": 1}, "NAMES_LEFT") == []
    assert "api/app.py:3: `one`: write" in explain(uses, {}, "NAMES_LEFT")[0]
    assert "1 uses, 0 are listed" in explain(uses, {"src/punchcard/api": 0}, "NAMES_LEFT")[1]
    assert explain(uses, {}, "NAMES_LEFT")[-1] == "NAMES_LEFT as it is now: {'src/punchcard/api': 1}"
    assert "lower its row" in explain([], {"src/punchcard/api": 1}, "NAMES_LEFT")[0]
