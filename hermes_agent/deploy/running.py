"""Running an activation from the start to the end: who does what, and in which process."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path

from hermes_agent.config.paths import Home
from hermes_agent.core.errors import HermesError
from hermes_agent.deploy.activation import Activation, Sources, container_mode_text, is_root, read_sources
from hermes_agent.deploy.host_users import link_home
from hermes_agent.deploy.merge import prepare_merge
from hermes_agent.deploy.placing import Placer, Report
from hermes_agent.deploy.privilege import (
    Account,
    become,
    find_account,
    make_directory,
    read_for,
    remove_as_root,
    write_as_root,
)
from hermes_agent.deploy.spec import ActivationSpec

EXIT_FAILED = 1


def activate(spec: ActivationSpec, *, dry_run: bool = False, only_secrets: bool = False) -> int:
    """Apply a spec; the outcome is printed.

    Args:
        spec: What to put in place.
        dry_run: Change nothing, print what would change as a diff.
        only_secrets: Only compile `.env` anew.

    Returns:
        0, or 1 if something could not be put in place.

    Raises:
        HermesError: A source cannot be read, or the user does not exist; nothing was changed.
    """
    account = find_account(spec.user, spec.group) if is_root() and spec.user is not None else None
    read = Path.read_bytes if account is None else partial(read_for, account)
    sources = read_sources(spec, only_secrets=only_secrets, read=read)

    if account is not None and not dry_run and not only_secrets:
        mode = int(spec.directory_mode, 8)
        for path in (spec.state_directory, spec.working_directory):
            make_directory(path, account, mode)

    # The service user need not be able to read the program's own files.
    prepare_merge()

    def inner() -> int:
        return _inside(spec, sources, dry_run=dry_run, only_secrets=only_secrets)

    code = inner() if account is None else as_account(account, inner)
    if account is not None and not dry_run and not only_secrets:
        code = _as_root(spec) or code
    return code


def as_account(account: Account, action: Callable[[], int]) -> int:
    """Run something as another user, in a child process; returns its exit code."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = EXIT_FAILED
        try:
            become(account)
            code = action()
        except HermesError as error:
            print_problem(error)
        except Exception:  # noqa: BLE001 - the last handler of this process; nobody else would see it
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status) and EXIT_FAILED


def _inside(spec: ActivationSpec, sources: Sources, *, dry_run: bool, only_secrets: bool) -> int:
    if not is_root():
        os.umask(0o007)
    activation = Activation(spec, sources, Placer(Report(), dry_run=dry_run))
    failed = activation.compile_environment() if only_secrets else activation.apply()
    print_report(activation.report, dry_run=dry_run)
    for error in failed:
        print_problem(error)
    return EXIT_FAILED if failed else 0


def _as_root(spec: ActivationSpec) -> int:
    """What only root may do: say that commands belong into a container, and give host users the home."""
    marker = Home(spec.home).container_mode
    code = 0
    try:
        if spec.container_mode is not None:
            if write_as_root(marker, container_mode_text(spec)):
                print(f"{marker}: written")
        elif remove_as_root(marker):
            print(f"{marker}: removed")
    except HermesError as error:
        print_problem(error)
        code = EXIT_FAILED
    for name in spec.host_users:
        try:
            account = find_account(name)
        except HermesError as error:
            print_problem(error)
            code = EXIT_FAILED
            continue
        wanted = spec.home if spec.container_mode is not None else None
        code = as_account(account, partial(link_home, account.home, spec.home, wanted)) or code
    return code


def print_report(report: Report, *, dry_run: bool = False) -> None:
    """Print what was done."""
    for diff in report.diffs:
        print(diff)
    for change in report.changes:
        print(f"{'would be: ' if dry_run else ''}{change}")
    for warning in report.warnings:
        print(f"Warning: {warning}", file=sys.stderr)


def print_problem(error: HermesError) -> None:
    """Print what failed, why, and what to do."""
    first, *more = error.lines
    print(f"Error: {first}", file=sys.stderr)
    for line in more:
        print(f"       {line}", file=sys.stderr)
