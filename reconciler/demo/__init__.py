"""The whole loop on an embedded MLflow server: what a cycle decides, and what the audit then reports."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
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
    serve: bool,
    directory: Path | None,
    report: Callable[[Settings], None],
    pages: Callable[[Settings, Path], str],
    waiting: Callable[[str], AbstractContextManager[None]],
) -> int:
    """Run a cycle, look at what holds the targets, and print a report. Returns an exit code.

    With `serve`, cycles go on until Ctrl-C.

    Args:
        report: prints what the audit database of these settings holds.
        pages: writes it as pages into a folder, and says where they are.
        waiting: shows the text while its block runs.
    """
    # The plain wheel brings mlflow-skinny, which has the server's modules but not what they import.
    if find_spec("mlflow.server") is None or find_spec("flask") is None:
        raise SettingsError(["demo needs an MLflow server: install mlflow-reconciler[server]"])
    folder = directory or Path(tempfile.mkdtemp(prefix="mlflow-reconciler-demo-"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError([f"{folder}: cannot be written: {error.strerror}"]) from None
    with ExitStack() as stack:
        with waiting("starting an MLflow server on loopback"):
            uri = stack.enter_context(mlflow_server(folder / "mlflow"))
        settings = _first_cycle(uri, folder)
        _later(uri, settings)
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


def _later(uri: str, settings: Settings) -> None:
    """Versions are compared with what holds the target; and what no decision brought there is an exception.

    That is one once a second look still finds none.
    """
    _say("versions 2 and 3 of fraud-detector are requested, and somebody moves churn version 1 to Production by hand;")
    _say("two more cycles compare, and look at what is there:\n")
    samples.register_newer(uri)
    samples.move_by_hand(uri)
    for _ in range(2):
        run_once(settings, dry_run=False, on_event=_print_news)
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


def _print_news(event: Event) -> None:
    """Not what was told before: that no rule covers a request, such as the side project's."""
    if event.kind != "abstained":
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
