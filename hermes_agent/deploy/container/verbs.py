"""The commands for people: what would happen, ending the container, removing it."""

from __future__ import annotations

import json
import os
import signal
import time
from contextlib import suppress

from hermes_agent.core.errors import GatewayError
from hermes_agent.deploy.container import host
from hermes_agent.deploy.container.engine import Engine
from hermes_agent.deploy.container.reconcile import Reconciler, decide, observe
from hermes_agent.deploy.container.spec import ContainerSpec
from hermes_agent.deploy.container.structure import build_structure

_POLL_SECONDS = 0.1
_MARGIN_SECONDS = 60


def show_plan(spec: ContainerSpec, *, as_json: bool = False) -> int:
    """Print what `run` would do now, and which inputs changed.

    Returns:
        0: nothing changes; 10: restarted; 11: made; 12: made again, the layer kept; 13: the layer lost.
    """
    structure = build_structure(spec)
    account = host.resolve_account(spec)
    host.check_package(spec)
    engine = Engine(spec.backend, spec.sockets)
    plan = decide(spec, structure, host.start_facts(spec, account, {}), observe(spec, engine))
    needs_image = plan.action.name in {"CREATE", "REPLACE"} and engine.image_path(spec.image) is None
    if as_json:
        facts = {
            "action": plan.action.name.lower(),
            "changed": list(plan.reasons),
            "pulls": needs_image,
            "container": plan.base.id if plan.base else None,
            "identity": structure.identity,
        }
        print(json.dumps(facts, indent=1))
    else:
        print("\n".join(plan.lines(spec.name)))
        if needs_image:
            print(f"  The image {spec.image} is pulled first.")
    return plan.action.exit_code


def stop(spec: ContainerSpec) -> int:
    """End the container in good order; its supervisor, if there is one, does it."""
    pid = host.supervisor_pid(spec)
    if pid:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + spec.drain_seconds + _MARGIN_SECONDS
        while host.supervisor_pid(spec) is not None:
            if time.monotonic() > deadline:
                raise GatewayError(f"Process {pid} did not end the container in time")
            time.sleep(_POLL_SECONDS)
        return 0
    reconciler, engine = _reconciler(spec)
    seen = observe(spec, engine)
    if seen.current is not None and seen.current.is_running:
        reconciler.stop(seen.current.id)
        print(f"The container {spec.name} has ended.")
    return 0


def remove(spec: ContainerSpec) -> int:
    """Remove the container, its images and its roots; the state directory stays."""
    with host.supervising(spec):
        reconciler, _ = _reconciler(spec)
        gone = reconciler.remove_everything()
        gone += [f"the root {name}" for name in host.remove_old_roots(spec, all_of_them=True)]
    for thing in gone:
        print(f"Removed: {thing}")
    return 0


def _reconciler(spec: ContainerSpec) -> tuple[Reconciler, Engine]:
    engine = Engine(spec.backend, spec.sockets)
    return Reconciler(
        spec, build_structure(spec), engine, tell=lambda status, _: print(f"{status} ...")
    ), engine
