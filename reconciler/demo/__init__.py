"""The whole loop on an embedded MLflow server: what a cycle decides, and what the audit then reports."""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from pydantic import SecretStr

from reconciler.audit import schema
from reconciler.bootstrap import asking
from reconciler.bootstrap.cycles import run_once
from reconciler.cycle import Event
from reconciler.demo import samples
from reconciler.demo.server import mlflow_server
from reconciler.domain.target import Target
from reconciler.settings.errors import SettingsError
from reconciler.settings.load import load_settings
from reconciler.settings.model import RegistrySettings, Settings

_PAUSE = 5.0


def run_demo(
    serve: bool, directory: Path | None, report: Callable[[Settings], None], pages: Callable[[Settings, Path], str]
) -> int:
    """Run a cycle, look at what holds the targets, and print a report. Returns an exit code.

    With `serve`, cycles go on until Ctrl-C.

    Args:
        report: prints what the audit database of these settings holds.
        pages: writes it as pages into a folder, and says where they are.
    """
    # The plain wheel brings mlflow-skinny, which has the server's modules but not what they import.
    if find_spec("mlflow.server") is None or find_spec("flask") is None:
        raise SettingsError(["demo needs an MLflow server: install mlflow-reconciler[server]"])
    folder = directory or Path(tempfile.mkdtemp(prefix="mlflow-reconciler-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    with _progress("starting an MLflow server on loopback") as done, mlflow_server(folder / "mlflow") as uri:
        done.set()
        settings = _first_cycle(uri, folder)
        _by_hand(uri, settings)
        report(settings)
        _say(f"\naudit report:   {pages(settings, folder / 'report')}")
        _say(f"audit database: {folder / 'audit.db'}")
        _say(f"policy:         {folder / 'policy.yaml'}")
        if serve:
            _more_cycles(uri, folder)
    return 0


def _first_cycle(uri: str, folder: Path) -> Settings:
    settings = _settings(uri, folder)
    _say(f"MLflow UI: {uri}")
    _say("registering sample models with real runs, and a request for each")
    samples.register(uri)
    asking.request_tool(settings).create("vision", "1", Target.parse("@champion"), "ada", "97 % on the holdout set")
    schema.upgrade(settings.audit.url.get_secret_value())
    _say("\none cycle of the daemon, in mode enforce:\n")
    summary = run_once(settings, dry_run=False, on_event=_print_event)
    _say(f"\n{summary.sentence}\n")
    _ungoverned(settings)
    return settings


def _by_hand(uri: str, settings: Settings) -> None:
    """What no decision brought there is an exception, once a second look still finds none."""
    _say("somebody moves churn version 1 to Production by hand; two more cycles look at what is there:\n")
    samples.move_by_hand(uri)
    for _ in range(2):
        run_once(settings, dry_run=False, on_event=_print_bypass)
    _say("")


def _settings(uri: str, folder: Path) -> Settings:
    policy = folder / "policy.yaml"
    policy.write_text(samples.POLICY, encoding="utf-8")
    base = load_settings()
    return base.model_copy(
        update={
            "registry": RegistrySettings(uri=uri),
            "audit": base.audit.model_copy(update={"url": SecretStr(f"sqlite:///{folder / 'audit.db'}")}),
            "policy": policy,
            "mode": "enforce",
        }
    )


def _print_event(event: Event) -> None:
    print(f"  {event.text}", flush=True)


def _print_bypass(event: Event) -> None:
    if event.kind == "bypass":
        _print_event(event)


def _ungoverned(settings: Settings) -> None:
    """A cycle does not search for targets that no rule names; only a question about such a request finds it."""
    sample = samples.UNGOVERNED
    explained = asking.explain(settings, sample.model, "1", Target.parse(sample.target))
    verdict = explained.verdict
    _say(f"explain {sample.model} version 1 to {sample.target}: {verdict.kind}, {verdict.reason}\n")


def _more_cycles(uri: str, folder: Path) -> None:
    settings = _settings(uri, folder)
    _say(f"\nThe server stays up and a cycle runs every {_PAUSE:g} s until Ctrl-C. Try it:")
    _say(f"  open {uri}/#/models/churn/versions/1 and add the tag transition_request.stage.Production")
    try:
        while True:
            run_once(settings, dry_run=False, on_event=_print_event)
            time.sleep(_PAUSE)
    except KeyboardInterrupt:
        _say("stopping")


def _say(text: str) -> None:
    print(text, flush=True)


@contextmanager
def _progress(text: str) -> Iterator[threading.Event]:
    """A spinner on stderr until the event is set; a plain line if stderr is not a terminal."""
    from rich.console import Console

    done = threading.Event()
    console = Console(stderr=True)
    if not console.is_terminal:
        print(text, file=sys.stderr, flush=True)
        yield done
        return
    spinner = threading.Thread(target=_spin, args=(console, text, done), daemon=True)
    spinner.start()
    try:
        yield done
    finally:
        done.set()
        spinner.join()


def _spin(console: object, text: str, done: threading.Event) -> None:
    from rich.console import Console

    assert isinstance(console, Console)
    with console.status(text):
        done.wait()
