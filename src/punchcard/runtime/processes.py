"""The three processes: `serve` handles requests, `worker` routes and delivers, `up` does both.

Modules with metrics are imported only after `_prepare`: prometheus_client decides at import where it stores values.
"""

import argparse
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from punchcard.errors import PunchcardError
from punchcard.runtime.child_process import stop_with_parent
from punchcard.runtime.data_folder import prepare_data_folder
from punchcard.runtime.garbage_collection import collect_rarely
from punchcard.runtime.logs import configure_logs
from punchcard.runtime.metrics import prepare_metrics
from punchcard.runtime.settings import Settings, TlsMode, read_settings

if TYPE_CHECKING:
    from punchcard.runtime.children import Children
    from punchcard.runtime.serve import Serving
    from punchcard.workspace.file_watch import FileWatch

_FAILED = 1
# How long a thread of the worker may keep the interpreter from another one that waits for it. At Python's default of
# 5 ms, an award with a committed claim waits longer for routing's thread to pause than for the commit itself.
_THREAD_SWITCH_SECONDS = 0.0005


def run_up(settings: Settings, *, config: Path | None) -> int:
    """Run the whole product on one machine until SIGTERM or SIGINT; return the exit status.

    Args:
        config: A config file to apply now, and again whenever it changes.

    Raises:
        PunchcardError: The file is invalid, the port is in use, or storage cannot be opened.
    """
    _prepare(settings, reset_counters=True)
    from punchcard.runtime.children import open_children

    config_file = "" if config is None else str(config)
    with open_children(settings, config_file=config_file, worker=_work_as_child) as children:
        return _run_up(settings, config=config, children=children)


def _run_up(settings: Settings, *, config: Path | None, children: "Children") -> int:
    from punchcard.runtime.serve import Serving

    config_file = "" if config is None else str(config)
    with Serving(settings, config_file=config_file, listening=children.listening) as serving:
        watch = _watch_config_file(serving, settings, config)
        token = serving.first_token()
        stopping = threading.Event()
        watching: list[threading.Thread] = []
        if watch is not None:
            watching.append(
                threading.Thread(
                    target=_poll_file, args=(watch.poll, settings.config_poll_seconds, stopping), name="config-watch"
                )
            )

        def ready() -> None:
            print(f"Punchcard is up: {serving.url} (data in {settings.data})", flush=True)
            _show_access(serving, token, settings)

        children.begin()
        for thread in watching:
            thread.start()

        def stop() -> None:
            # At once, not after the last response: all processes share the time that a supervisor allows.
            stopping.set()
            children.request_stop()

        try:
            serving.run(on_ready=ready, on_stop=stop)
        finally:
            stop()
            children.stop()
            for thread in watching:
                thread.join()
    return 0


def _watch_config_file(serving: "Serving", settings: Settings, config: Path | None) -> "FileWatch | None":
    """Apply the config file and return what applies it again whenever it changes; None without a file."""
    from punchcard.runtime.workspace_changes import apply_and_log, refuse_unconfirmed, report_config_file
    from punchcard.workspace.file_watch import FileWatch

    if config is None:
        report_config_file(serving.store, "", None)  # problems of a file that is not used any more
        return None
    watch = FileWatch(
        config,
        lambda workspace: apply_and_log(serving.store, workspace, settings=settings, keyring=serving.keyring),
        environment=os.environ,
        confirm=lambda workspace, derived_keys: refuse_unconfirmed(serving.store, workspace, derived_keys),
        report=lambda error: report_config_file(serving.store, str(config), error),
    )
    watch.apply_now()
    serving.watch.refresh()
    return watch


def run_serve(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit status.

    Raises:
        PunchcardError: The port is in use, or storage cannot be opened.
    """
    _prepare(settings, reset_counters=False)
    from punchcard.runtime.children import open_children
    from punchcard.runtime.serve import Serving

    with open_children(settings) as children, Serving(settings, listening=children.listening) as serving:
        token = serving.first_token()

        def ready() -> None:
            print(f"Punchcard listens on {serving.url}", flush=True)
            _show_certificate(settings)
            _show_token(token, settings)

        children.begin()
        try:
            serving.run(on_ready=ready, on_stop=children.request_stop)
        finally:
            children.stop()
    return 0


def run_worker(settings: Settings, *, until_stdin_closes: bool = False, starts_engage: bool = True) -> int:
    """Route and deliver until SIGTERM or SIGINT; return the exit status.

    Args:
        until_stdin_closes: Also stop when the parent process is gone.
        starts_engage: False leaves audiences and traits to `punchcard engage`.

    Raises:
        PunchcardError: Storage cannot be opened.
    """
    _prepare(settings, reset_counters=False)
    return _work(settings, until_stdin_closes=until_stdin_closes, starts_engage=starts_engage)


def _work(settings: Settings, *, until_stdin_closes: bool, starts_engage: bool) -> int:
    """Route and deliver in this process, after its logs and counters are prepared."""
    from punchcard.runtime.worker import Worker

    if until_stdin_closes:
        # From now on, because the worker may wait for its storage for long.
        threading.Thread(target=stop_with_parent, daemon=True).start()
    worker = Worker(settings, starts_engage=starts_engage)
    worker.open()
    collect_rarely()
    sys.setswitchinterval(_THREAD_SWITCH_SECONDS)
    return uvloop.run(worker.run())


def _work_as_child(settings: Settings) -> int:
    """Route and deliver as a child of `up`; an error is reported as one line."""
    try:
        return _work(settings, until_stdin_closes=True, starts_engage=True)
    except PunchcardError as error:
        print(f"punchcard worker: {error.message}", file=sys.stderr)
        return _FAILED


def _prepare(settings: Settings, *, reset_counters: bool) -> None:
    configure_logs(level=settings.log_level, format=settings.log_format)
    prepare_data_folder(settings.data)
    prepare_metrics(settings.data, reset=reset_counters)


def _show_certificate(settings: Settings) -> None:
    """Print which certificate clients must trust; nothing if it is not self-signed."""
    if settings.tls is TlsMode.SELF_SIGNED:
        from punchcard.runtime.tls import self_signed_certificate

        print(
            f"The certificate is self-signed. Clients must trust {self_signed_certificate(settings.data)}", flush=True
        )


def _show_token(token: str | None, settings: Settings) -> None:
    """Print a new token on a terminal, and in any case the file with it; nothing if the token already existed.

    Output that is not a terminal ends in files of a supervisor or a log collector, where a token must not be.
    """
    if token is None:
        return
    if sys.stdout.isatty():
        print(f"Admin token of the API (shown only once): {token}", flush=True)
    print(f"The admin token of the API is in {settings.admin_token_path()}", flush=True)


def _show_access(serving: "Serving", token: str | None, settings: Settings) -> None:
    """Print what a person needs to use the product: certificate, token and the App's address."""
    _show_certificate(settings)
    _show_token(token, settings)
    _show_app(serving)


def _show_app(serving: "Serving") -> None:
    """Print where to start, as long as nobody can sign in."""
    if not serving.has_owner():
        print(f"Open {serving.url}/ in a browser. The first visitor becomes the owner of the App.", flush=True)


def _poll_file(poll: Callable[[], object], seconds: float, stopping: threading.Event) -> None:
    while not stopping.wait(seconds):
        poll()


def _main() -> int:
    parser = argparse.ArgumentParser(description="The worker that `punchcard up` starts beside the Tracking API.")
    parser.add_argument("--until-stdin-closes", action="store_true")
    arguments = parser.parse_args()
    try:
        return run_worker(read_settings(os.environ), until_stdin_closes=arguments.until_stdin_closes)
    except PunchcardError as error:
        print(f"punchcard worker: {error.message}", file=sys.stderr)
        return _FAILED


if __name__ == "__main__":
    sys.exit(_main())
