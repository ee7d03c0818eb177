"""What the folder holds, as files: whole, complete, self-contained, and in nobody's way."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import create_engine, text

from reconciler.cli.exits import code_of
from reconciler.cli.pages import pages_of_everything
from reconciler.html.libraries import LibraryMissing, require
from tests.html.conftest import Folder, report

ROOT = Path(__file__).resolve().parents[2]


class Elements(HTMLParser):
    """Every element of a page, as a parser that is not ours finds it."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    @property
    def addresses(self) -> set[str]:
        """Whatever a browser would fetch, or go to."""
        named = (attributes.get(name) for _, attributes in self.found for name in ("href", "src", "xlink:href", "data"))
        return {address for address in named if address is not None and not address.startswith("#")}


def pages(folder: Folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.place.glob("*.html")}


def test_every_file_is_in_the_manifest_and_every_link_leads_to_one(folder: Folder) -> None:
    manifest = json.loads((folder.place / "manifest.json").read_text())
    there = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.place.iterdir()}
    assert manifest["files"] == {name: digest for name, digest in there.items() if name != "manifest.json"}
    for name, html in pages(folder).items():
        assert Elements(html).addresses <= set(there), name


def test_the_policy_of_a_page_allows_its_own_style_and_script_by_hash_and_nothing_else(folder: Folder) -> None:
    for name, html in pages(folder).items():
        [policy] = re.findall(r'Content-Security-Policy" content="(.+?)">', html)
        inline = {
            what: re.findall(rf"<{what}>(.*?)</{what}>", html.split("<body>")[what == "script"], re.DOTALL)
            for what in ("style", "script")
        }
        hashes = {
            what: base64.b64encode(hashlib.sha256(texts[-1].encode()).digest()).decode()
            for what, texts in inline.items()
        }
        assert policy.replace("&#39;", "'") == (
            f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
            "img-src data:; base-uri 'none'; form-action 'none'"
        ), name
        attributes = {attribute for _, found in Elements(html).found for attribute in found}
        assert not [attribute for attribute in attributes if attribute == "style" or attribute.startswith("on")], name


def test_there_is_a_page_for_each_model_and_each_decision_and_its_dossier_proves_itself(folder: Folder) -> None:
    ids = {id for (id,) in folder.rows("SELECT decision_id FROM decisions")}
    models = folder.rows("SELECT count(DISTINCT model) FROM tenures")[0][0]
    assert {path.stem.removeprefix("decision-") for path in folder.place.glob("decision-*.html")} == ids
    assert len(list(folder.place.glob("model-*.html"))) == models == 12
    dossiers = sorted(folder.place.glob("dossier-*.json"))
    assert len(dossiers) == len(ids)
    heads = folder.database.with_name("audit.heads")
    tool = [sys.executable, str(ROOT / "tools/verify_audit.py"), "--head", str(heads), str(dossiers[0])]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(ids)} decisions" in folder.said


def links_in(html: str, heading: str) -> list[tuple[str, str]]:
    """Of each cell of the columns with this heading: where it leads, and its text."""
    found = []
    for table in re.findall(r"<table.*?</table>", html, re.DOTALL):
        heads = re.findall(r"<th [^>]*>(.*?)</th>", table)
        rows = [re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL) for row in table.split("<tr>")[2:]]
        found += [cells[place] for cells in rows for place, head in enumerate(heads) if head == heading]
    return [(("".join(re.findall('href="(.*?)"', cell))), unescape(re.sub("<.*?>", "", cell))) for cell in found]


def test_every_name_of_a_model_and_every_id_of_a_decision_leads_to_its_page(folder: Folder) -> None:
    """However it has to be shown: escaped, cut, or like a digest."""
    told = pages(folder)
    titles = {name: unescape(re.findall("<h1>(.*?)</h1>", html, re.DOTALL)[0]) for name, html in told.items()}
    models = decisions = 0
    for name, html in told.items():
        # On its own page a model leads nowhere.
        for leads_to, shown in [] if name.startswith("model-") else links_in(html, "model"):
            assert titles.get(leads_to) == shown, (name, shown)
            models += 1
        for leads_to, shown in links_in(html, "decision"):
            assert shown == "–" or leads_to.startswith(f"decision-{shown}"), (name, shown)
            decisions += 1
        if name.startswith("decision-"):
            [(leads_to, shown)] = re.findall(r'<dt>model</dt><dd><a href="(.*?)">(.*?)</a>', html)
            assert titles[leads_to] == unescape(shown)
    assert models > 100
    assert decisions > 100


def test_the_front_page_counts_what_the_tables_hold(folder: Folder) -> None:
    index = (folder.place / "index.html").read_text()
    tiles = dict(re.findall(r"<dt>([^<]+)</dt><dd>([^<]+)</dd></div>", index))
    acted = "SELECT count(*) FROM decisions WHERE acts AND verdict = '{}'"
    assert tiles["approved"] == str(folder.rows(acted.format("approve"))[0][0])
    assert tiles["rejected"] == str(folder.rows(acted.format("reject"))[0][0])
    assert tiles["tenures"] == str(folder.rows("SELECT count(*) FROM tenures")[0][0])
    exceptions = folder.rows("SELECT count(*), count(accepted_at) FROM tenures WHERE began_by = 'bypass'")[0]
    assert (tiles["exceptions"], tiles["of these acknowledged"]) == tuple(map(str, exceptions))


@pytest.mark.parametrize("name", ["completeness", "decisions", "as-of"])
def test_one_report_is_one_file(folder: Folder, tmp_path: Path, name: str) -> None:
    place = tmp_path / "report.html"
    done = report(folder.url, name, "--format", "html", "--output", str(place))
    assert (done.returncode, done.stderr) == (0, f"wrote {place}\n")
    html = place.read_text()
    assert html.startswith("<!doctype html>")
    assert Elements(html).addresses == set()
    assert json.loads(report(folder.url, name, "--format", "json").stdout)["log"]["root"] in html.replace("&#43;", "+")


def test_what_is_drawn_does_not_depend_on_where_it_is_drawn(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    until = folder.rows("SELECT max(decided_at) FROM decisions")[0][0]
    drawn = []
    for zone in ("UTC", "Asia/Kolkata"):
        monkeypatch.setenv("TZ", zone)
        html = report(folder.url, "decisions", "--until", until, "--format", "html").stdout
        drawn.append(re.sub(r"<dt>Made</dt>.*", "", html))
    assert drawn[0] == drawn[1]
    assert drawn[0].count("<svg") == 3


def header(html: str) -> str:
    """What a page says above its content, as text."""
    return " ".join(re.sub("<[^>]+>", " ", html.partition('<header class="top">')[2].partition("</header>")[0]).split())


def test_a_page_about_some_models_says_so_above_its_numbers(folder: Folder, tmp_path: Path) -> None:
    assert "nly " not in header(pages(folder)["index.html"])
    place = tmp_path / "report"
    done = report(folder.url, "--html", str(place), "--model", "fraud*", "--target", "Production")
    assert done.returncode == 0, done.stderr
    for name in ("index", "completeness", "as-of"):
        told = header((place / f"{name}.html").read_text())
        assert "Only models fraud* and the target Production. Whatever follows is about these alone" in told, name
        assert "to " in told if name != "as-of" else "as of " in told
    assert "Only the target Production." in header((place / "model-1.html").read_text())
    [title] = re.findall("<title>(.*?)</title>\n", (place / "index.html").read_text())
    assert title.endswith(", only models fraud* and the target Production")


def test_a_page_about_a_model_that_nobody_has_says_so_and_not_only_that_there_is_no_exception(
    folder: Folder, tmp_path: Path
) -> None:
    done = report(folder.url, "--html", str(tmp_path / "report"), "--model", "frod")
    assert done.returncode == 0
    said = "o model on record matches 'frod': * matches anything, and case matters"
    assert done.stderr.startswith(f"n{said}\nwrote ")
    html = (tmp_path / "report/index.html").read_text()
    assert f"N{said}." in header(html).replace("&#39;", "'")
    assert html.index("on record matches") < html.index('<dl class="tiles">')


def test_a_folder_of_before_is_replaced_as_a_whole(folder: Folder, tmp_path: Path) -> None:
    place = tmp_path / "report"
    shutil.copytree(folder.place, place)
    (place / "index.html").write_text("of yesterday")
    done = report(folder.url, "--html", str(place), "--since", "2d", "--model", "fraud")
    assert done.returncode == 0, done.stderr
    assert "of yesterday" not in (place / "index.html").read_text()
    assert len(list(place.glob("model-*.html"))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["report"]


def test_a_folder_that_fails_half_way_leaves_the_one_that_was_there(folder: Folder, tmp_path: Path) -> None:
    database, place = tmp_path / "audit.db", tmp_path / "report"
    shutil.copy(folder.database, database)
    owner = create_engine(f"sqlite:///{database}")
    with owner.begin() as connection:
        connection.execute(text("DROP TRIGGER decisions_no_update"))
        connection.execute(text("UPDATE decisions SET requested_at = 'soon' WHERE id = 1"))
    owner.dispose()
    shutil.copytree(folder.place, place)
    before = {path.name: path.stat().st_mtime_ns for path in place.iterdir()}
    done = report(f"sqlite:///{database}", "--html", str(place))
    assert (done.returncode, len(done.stderr.splitlines())) == (69, 1), done.stderr
    assert {path.name: path.stat().st_mtime_ns for path in place.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.db", "report"]


@pytest.mark.parametrize("what", ["a file in it", "a file beside a report", "a file", "a link", "no parent"])
def test_a_directory_that_is_not_ours_is_left_alone(folder: Folder, tmp_path: Path, what: str) -> None:
    place = tmp_path / "report"
    if what == "a file":
        place.write_text("mine")
    elif what == "a link":
        (tmp_path / "other").mkdir()
        place.symlink_to(tmp_path / "other")
    elif what == "no parent":
        place = tmp_path / "none/report"
    else:
        shutil.copytree(folder.place, place) if "beside" in what else place.mkdir()
        (place / "notes.txt").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = report(folder.url, "--html", str(place))
    said = {
        "a file": "is not a directory", "a link": "is a symbolic link", "no parent": "cannot be written: No such file",
    }.get(what, "has a file that is not part of a report (notes.txt): name an empty directory")  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith(f"{place}: {said}")
    assert len(done.stderr.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_without_the_libraries_one_sentence_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("altair", "vl_convert"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(LibraryMissing) as missing:
        require()
    nothing: Any = None
    assert pages_of_everything(nothing, Path("nowhere")) == f"not written: {missing.value}"
    needed = "HTML needs altair, vl-convert-python: run `pip install 'mlflow-reconciler[report]'`"
    assert (str(missing.value), code_of(missing.value)) == (needed, 78)


BROKEN: Final = {
    "a shared library that is not there": "raise ImportError('libstdc++.so.6: cannot open\\nshared object file')",
    "another library that is not there": "import of_another_package",
    "a module that is not there": "from . import vegalite",
    "one for another system": "raise OSError('wrong ELF class')",
    "one for another Python": "raise TypeError('unhashable type')",
    "nothing in it": "",
}


@pytest.mark.parametrize("package", ["altair", "jinja2", "vl_convert"])
@pytest.mark.parametrize("how", BROKEN)
def test_a_library_that_is_broken_is_one_sentence_with_the_command_that_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, how: str
) -> None:
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(BROKEN[how])
    monkeypatch.syspath_prepend(tmp_path)
    # The one that loads although nothing is in it is not left to the tests that follow.
    monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(LibraryMissing) as broken:
        require()
    name = package.replace("vl_convert", "vl-convert-python")
    told = str(broken.value)
    assert told.startswith(f"{name} cannot be loaded (")
    assert told.endswith(f"): run `pip install --force-reinstall {name}`")
    assert "\n" not in told
    assert code_of(broken.value) == 78


def test_where_nothing_written_may_be_executed_one_sentence_says_what_to_set() -> None:
    """As the kernel does it for MemoryDenyWriteExecute=yes; V8 would end with a trap."""
    code = (
        "import ctypes, sys\n"
        "if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0): sys.exit('no such kernel')\n"
        "from reconciler.html.libraries import require\n"
        "try: require()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if "no such kernel" in done.stderr:
        pytest.skip("the kernel has no PR_SET_MDWE (6.3)")
    assert done.stdout.startswith("CannotDraw HTML needs memory that is written and then executed"), done.stderr
    assert "MemoryDenyWriteExecute=no" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["decisions", "--html", "x"], "name: cannot be combined with --html, which writes every report"),
        (["--html", "x", "--output", "y"], "--output: cannot be combined with --html, which writes every report"),
        (["--format", "html"], "--format: name a report, or write all with --html DIRECTORY"),
        (["decisions", "--format", "html", "--section", "crossed"],
         "--section: an HTML page has every list: leave it out"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_one_sentence(folder: Folder, arguments: list[str], says: str) -> None:
    done = report(folder.url, *arguments)
    assert done.returncode == 2
    assert done.stderr == f"{says} (see `mlflow-reconciler audit report --help`)\n"
