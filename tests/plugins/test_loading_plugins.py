"""Which code is loaded: what was digested is what runs, and what cannot be vouched for is refused in one sentence."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.domain.engines.evaluate import evaluate
from reconciler.policy.file import parse_policy
from reconciler.policy.plugins import PluginError, Plugins
from reconciler.settings.errors import SettingsError
from reconciler.settings.load import load_settings
from tests.command import run
from tests.plugins.conftest import EXAMPLE, UV, Load, kind_in
from tests.plugins.packages import CHECK, HEAD, install, names, policy, seen, source_of
from tests.plugins.test_judging_by_plugins import ASKED, NOW, by, only

FIND = "find -L {} -name __pycache__ -prune -o -type f ! -name '*.pyc' -print"


def sha256_by_the_system(folder: Path, name: str) -> str:
    """As docs/checks-of-your-own.md says, by find, sort and sha256sum."""
    line = f"{FIND.format(name)} | LC_ALL=C sort | xargs -d '\\n' sha256sum | sha256sum"
    return subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=True).stdout.split()[
        0
    ]


def digest(plugins: Plugins) -> str:
    return kind_in(plugins).plugin.code.sha256


def observed(plugins: Plugins) -> str:
    return only(by(parse_policy(policy(), "p", plugins.kinds()), seen())).observed


# --- the digest ----------------------------------------------------------------------------------------------


def test_the_digest_is_the_one_that_sha256sum_gives(mine: Load, site: Path) -> None:
    plugins = mine()
    for name in ("limits.json", "with blanks.txt", "below/__init__.py", "Zebra.py", "a-b.py"):
        (site / "mine_check" / name).parent.mkdir(exist_ok=True)
        (site / "mine_check" / name).write_text(name)
    assert digest(plugins) == sha256_by_the_system(site, "mine_check")


def test_the_digest_of_a_module_alone_and_of_one_in_a_namespace(site: Path) -> None:
    names(site, "mine = mine_alone:Mine")
    (site / "mine_alone.py").write_text(source_of())
    assert digest(Plugins(("mine",))) == sha256_by_the_system(site, "mine_alone.py")
    install(site, entry="mine = acme.checks.mine:Mine", module="acme.checks.mine")
    assert digest(Plugins(("mine",))) == sha256_by_the_system(site / "acme/checks", "mine")


def test_any_file_of_the_package_changes_the_digest_and_compiled_ones_do_not(mine: Load, site: Path) -> None:
    plugins = mine()
    before = digest(plugins)
    py_compile.compile(str(site / "mine_check/__init__.py"))
    (site / "mine_check/old.pyc").write_bytes(b"x")
    assert digest(plugins) == before
    (site / "mine_check/limits.json").write_text("{}")
    assert digest(plugins) != before


def test_a_compiled_file_of_other_code_with_the_right_time_and_size_does_not_run(mine: Load, site: Path) -> None:
    honest, other = (source_of(f'return passed("{word}")') for word in ("honest", "forged"))
    plugins = mine(other)
    file = site / "mine_check/__init__.py"
    compiled = py_compile.compile(str(file), invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
    file.write_text(honest)
    assert compiled == importlib.util.cache_from_source(str(file))
    line = "import mine_check, inspect; print('forged' in str(mine_check.Mine.judge.__code__.co_consts))"
    assert subprocess.run([sys.executable, "-c", line], capture_output=True, text=True).stdout == "True\n"
    assert observed(plugins) == "honest"


def test_an_editable_install_is_the_code_that_runs(tmp_path: Path, site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "example"
    shutil.copytree(EXAMPLE, source)
    options = ["--quiet", "--offline", "--no-deps", "--no-build-isolation"]
    line = [UV, "pip", "install", *options, "--python", sys.executable, "--target", site, "--editable", source]
    subprocess.run(line, check=True)
    [path] = site.glob("*.pth")
    # Python reads it at its start, and has this path then.
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), path.read_text().strip()]))
    plugins = Plugins(("latency",))
    assert not list(site.glob("latency_check*"))
    assert digest(plugins) == sha256_by_the_system(source, "latency_check")
    with (source / "latency_check/__init__.py").open("a") as file:
        file.write("# changed in place\n")
    assert digest(plugins) == sha256_by_the_system(source, "latency_check")


def test_a_module_that_is_imported_later_is_the_one_that_was_read(mine: Load, site: Path) -> None:
    plugins = mine(source_of("from mine_check import later\nreturn passed(later.WORD)"))
    (site / "mine_check/later.py").write_text('WORD = "as read"')
    loaded = parse_policy(policy(), "p", plugins.kinds())
    (site / "mine_check/later.py").write_text('WORD = "as changed"')
    assert only(by(loaded, seen())).observed == "as read"


def test_a_module_that_was_not_there_is_not_imported(mine: Load, site: Path) -> None:
    loaded = parse_policy(policy(), "p", mine(source_of("from mine_check import later\nreturn passed('x')")).kinds())
    (site / "mine_check/later.py").write_text("")
    assert "later.py was not there when the code of mine_check was read" in only(by(loaded, seen())).observed


# --- what is refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "about", "says"),
    [
        ("other", "", {}, "other cannot be loaded: no installed package has a check other (installed: mine): "
         "install it beside the product"),
        ("metric", "", {}, "'metric' is a check of the product itself: a check of your own needs another name"),
        ("any_of", "", {}, "'any_of' is a check of the product itself: a check of your own needs another name"),
        ("grace", "", {}, "'grace' is a key of the product's checks: a check of your own needs another name"),
        ("mine", "import nowhere_to_be_found", {}, "mine cannot be loaded: mine_check:Mine cannot be loaded: "
         "ModuleNotFoundError: No module named 'nowhere_to_be_found'"),
        ("mine", "def", {}, "mine cannot be loaded: mine_check:Mine cannot be loaded: SyntaxError: invalid syntax"),
        ("mine", "raise SystemExit(3)", {}, "mine cannot be loaded: mine_check:Mine cannot be loaded: SystemExit: 3"),
        ("mine", "Mine = dict", {}, "mine_check:Mine is not a subclass of reconciler.plugins.Check"),
        ("mine", HEAD + CHECK, {}, "cannot be loaded: TypeError: Can't instantiate abstract class Mine"),
        ("mine", source_of(more='name = "yours"'), {}, "mine cannot be loaded: mine_check:Mine has the name 'yours': "
         "make it that of its entry point"),
        ("mine", source_of(more='codes = {"not so good": "x"}'), {}, "mine of acme-mine 1.0.0: 'not so good' is not a "
         "code: use letters, digits and _, at most 27"),
        ("mine", source_of(more='codes = {"x" * 28: "x"}'), {}, "is not a code: use letters, digits and _, at most 27"),
        ("mine", "", {"entry": "mine = nowhere:Mine"}, "mine cannot be loaded: there is no module nowhere"),
        ("mine", "", {"entry": "mine = json:Mine"}, "mine cannot be loaded: json was imported before its code could be "
         "read: give the package another name"),
        ("mine", "", {"entry": "mine = mine_check:Yours"}, "mine cannot be loaded: mine_check:Yours cannot be loaded: "
         "AttributeError: module 'mine_check' has no attribute 'Yours'"),
    ],
)  # fmt: skip
def test_a_check_that_cannot_be_loaded_is_told_in_one_sentence(
    mine: Load, name: str, source: str, about: dict[str, str], says: str
) -> None:
    mine(source, **about)
    with pytest.raises(PluginError) as caught:
        Plugins((name,)).kinds()
    assert says in str(caught.value)
    assert str(caught.value).startswith("plugins.checks: ")
    assert "\n" not in str(caught.value)


def test_two_packages_with_one_name_are_refused(mine: Load, site: Path) -> None:
    mine()
    install(site, entry="mine = other_check:Mine", module="other_check", distribution="zebra-mine")
    with pytest.raises(PluginError) as caught:
        Plugins(("mine",)).kinds()
    says = "mine cannot be loaded: acme-mine and zebra-mine both have a check mine: uninstall all but one"
    assert str(caught.value) == f"plugins.checks: {says}"


def test_what_is_not_python_source_is_refused(site: Path) -> None:
    names(site, "mine = mine_check:Mine")
    for suffix in (".pyc", ".so"):
        for file in site.glob("mine_check*"):
            file.unlink()
        (site / f"mine_check{suffix}").write_bytes(b"x")
        with pytest.raises(PluginError, match="mine_check is not Python source"):
            Plugins(("mine",)).kinds()


def test_a_link_to_a_folder_is_refused(mine: Load, site: Path, tmp_path: Path) -> None:
    plugins = mine()
    (tmp_path / "elsewhere").mkdir()
    (site / "mine_check/below").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PluginError, match="is a link to a folder"):
        plugins.kinds()


def test_only_what_is_named_is_loaded(mine: Load, site: Path, tmp_path: Path) -> None:
    names(site, "yours = yours_check:Yours", "acme-yours")
    (site / "yours_check.py").write_text(f"open({str(tmp_path / 'loaded')!r}, 'w')")
    assert observed(mine()) == "fine"
    assert not (tmp_path / "loaded").exists()


def test_nothing_is_started_where_nothing_is_named() -> None:
    line = "import sys; from reconciler.policy.plugins import NO_PLUGINS; NO_PLUGINS.kinds(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert not {"reconciler.policy.plugin_loading", "reconciler.policy.plugin_process", "reconciler.plugins"} & loaded


def test_the_process_of_a_check_has_no_module_of_the_product_in_it(mine: Load) -> None:
    judge = """
    ours = [name for name in sys.modules if name.startswith("reconciler") and not name.startswith("reconciler.plugins")]
    return passed(" ".join([*ours, *(name for name in ("pydantic", "requests", "sqlalchemy") if name in sys.modules)]))
    """
    assert observed(mine(source_of(judge))) == "reconciler"


# --- commands ------------------------------------------------------------------------------------------------


def test_a_mistake_of_the_configuration_ends_a_command_with_78_and_one_line(mine: Load, tmp_path: Path) -> None:
    mine()
    path = tmp_path / "policy.yaml"
    path.write_text(policy())
    for named, says in (
        ("other", "plugins.checks: other cannot be loaded: no installed package has a check other (installed: mine): "
         "install it beside the product"),
        ("mine,mine", "RECONCILER_PLUGINS__CHECKS: 'mine' is named twice: remove one of the two"),
        ("Mine", "RECONCILER_PLUGINS__CHECKS: 'Mine' is not a check's name: use 2 to 24 small letters, digits and _"),
    ):  # fmt: skip
        done = run(
            "check", environment={**os.environ, "RECONCILER_PLUGINS__CHECKS": named, "RECONCILER_POLICY": str(path)}
        )
        assert says in (done.stdout + done.stderr)
        assert done.returncode == (1 if named == "other" else 78)


def test_validate_names_the_code_of_each_check_and_says_what_is_not_loaded(
    mine: Load, site: Path, tmp_path: Path
) -> None:
    sha256 = digest(mine())
    path = tmp_path / "policy.yaml"
    path.write_text(policy())
    done = run("policy", "validate", str(path), environment={**os.environ, "RECONCILER_PLUGINS__CHECKS": "mine"})
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0, f"{path}: mine is a check of acme-mine 1.0.0, sha256 {sha256}"
    )  # fmt: skip
    done = run("policy", "validate", str(path), environment=dict(os.environ))
    assert done.returncode == 78
    assert done.stderr.startswith(f"{path}:6:9: rules[0].require[0]: not a check: use exactly one of metric, ")
    assert done.stderr.endswith("; checks of your own are loaded by plugins.checks\n")


def test_checks_that_cannot_be_loaded_hide_no_mistake_of_the_policy_nor_one_another(mine: Load, tmp_path: Path) -> None:
    mine("def")
    path = tmp_path / "policy.yaml"
    more = "      - {foreign: 5, lvel: hard}\n      - {metric: auc, mn: 1}\n"
    path.write_text(policy(more=more))
    environment = {**os.environ, "RECONCILER_PLUGINS__CHECKS": "mine,foreign"}
    done = run("policy", "validate", str(path), environment=environment)
    lines = path.read_text().splitlines()
    lvel, mn = (f"{path}:{at}" for at, line in enumerate(lines, 1) if "lvel" in line or "mn" in line)
    told = [re.sub(r":\d+: ", ": ", line, count=1).split(": ")[:2] for line in done.stderr.splitlines()]
    assert (done.returncode, told) == (78, [
        ["plugins.checks", "mine cannot be loaded"], ["plugins.checks", "foreign cannot be loaded"],
        [lvel, "rules[0].require[1].lvel"], [mn, "rules[0].require[2].mn"],
    ])  # fmt: skip
    path.write_text(policy())
    done = run("policy", "validate", str(path), environment=environment)
    assert (done.returncode, done.stdout, done.stderr.count("cannot be loaded: ")) == (78, "", 3)


# --- the page, and the example -------------------------------------------------------------------------------


def test_the_example_is_a_package_whose_tests_pass_and_whose_types_hold(example: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(example)}
    tests = f"pytest -q -p no:cacheprovider -p no:xdist -c {os.devnull} tests"
    types = "mypy --strict --no-incremental --follow-imports silent latency_check"
    for module in (tests, types):
        line = [sys.executable, "-m", *module.split()]
        done = subprocess.run(line, env=environment, cwd=EXAMPLE, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_example_judges(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(example))
    plugins = Plugins(("latency",))
    loaded = parse_policy(policy("latency: {max_ms: 250}", more="      - run: {linked: true}\n"), "p", plugins.kinds())
    assert loaded.warnings == ()
    check = evaluate(loaded.policy, ASKED, seen().judged_by(loaded.policy.needs(ASKED).codes), NOW).checks[0]
    assert (check.code, check.remedy) == (
        "latency.not_measured", "run the load test against this model, with the id of its run"
    )  # fmt: skip
    assert kind_in(plugins).plugin.code[:3] == ("latency", "acme-latency-check", "1.0.0")
    assert digest(plugins) == sha256_by_the_system(EXAMPLE, "latency_check")


def test_the_class_on_the_page_is_a_check_and_its_test_passes(site: Path, tmp_path: Path) -> None:
    page = (EXAMPLE.parents[1] / "docs/checks-of-your-own.md").read_text()
    check, test = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    install(site, check, entry="latency = latency_check:LatencyCheck", module="latency_check", distribution="acme")
    kinds = Plugins(("latency",)).kinds()
    fragment = re.findall(r"```text\n(rules:.*?)```", page, re.DOTALL)[0]
    assert parse_policy(f"version: 1\n{fragment}", "p", kinds).warnings == ()
    (tmp_path / "test_page.py").write_text(f"from latency_check import LatencyCheck\n{test}")
    line = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, "test_page.py"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert FIND.format("latency_check") in page


def test_a_check_may_not_take_longer_than_the_watchdog_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECONCILER_PLUGINS__TIMEOUT", "11s")
    with pytest.raises(SettingsError, match="RECONCILER_PLUGINS__TIMEOUT: must be at most 10s: a cycle waits for it"):
        load_settings()
