"""`cron/jobs.json`: the jobs, as the older agent keeps them (names and shapes are a contract).

Fields nobody here knows are kept. Every change happens under a lock and replaces the file atomically, so
that the gateway, the command line and a hand editor do not lose each other's changes.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hermes_agent.config.files import exclusive, read_file, replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.core.errors import StoreCorruptError, UsageError
from hermes_agent.scheduler.schedule import Schedule, parse_schedule

EDITABLE = (
    "name", "prompt", "schedule", "repeat", "deliver", "skills", "model", "provider", "script", "no_agent",
    "context_from", "enabled_toolsets", "workdir", "misfire", "jitter_seconds", "concurrency", "alert",
    "origin", "max_turns", "max_tokens", "max_usd",
)  # fmt: skip
MISFIRE = ("grace", "run", "skip")
"""What happens to occurrences that were missed: run within the grace, run the newest one always, never."""


class JobBook:
    """Reads and changes jobs.

    Args:
        home: Where `cron/jobs.json` is.
        clock: Unix time.
    """

    def __init__(self, home: Home, *, clock: Callable[[], float] = time.time) -> None:
        self._path: Path = home.cron / "jobs.json"
        self._lock: Path = home.cron / ".jobs.lock"
        self._clock = clock

    @property
    def outputs(self) -> Path:
        """Where runs leave their output, a folder for each job."""
        return self._path.parent / "output"

    def all(self) -> Sequence[dict[str, Any]]:
        """All jobs, oldest first.

        Raises:
            StoreCorruptError: The file cannot be understood; it is left as it is.
        """
        return self._load()["jobs"]  # type: ignore[no-any-return]

    def get(self, reference: str) -> dict[str, Any]:
        """Find by id, unique start of the id, or exact name. Raises `UsageError`."""
        return _find(list(self.all()), reference)

    def create(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Add a job. Needs `schedule` and `prompt`, `skills` or `script`."""
        now = self._clock()
        _refuse_unknown(fields)
        job: dict[str, Any] = {
            "id": secrets.token_hex(6),
            "name": "",
            "prompt": "",
            "skills": [],
            "deliver": "local",
            "enabled": True,
            "state": "scheduled",
            "created_at": _iso(now),
            "next_run_at": None,
            "last_run_at": None,
            "last_status": None,
            "last_error": None,
            "last_delivery_error": None,
            "repeat": {"times": None, "completed": 0},
        }
        _apply(job, fields, now)
        if "schedule" not in job:
            raise UsageError("A job needs a schedule", remedy="For example: every 2h, or 0 9 * * 1-5")
        if not (job["prompt"] or job["skills"] or job.get("script")):
            raise UsageError("A job needs a prompt, a skill or a script")
        job["name"] = job["name"] or (job["prompt"] or job.get("script") or job["skills"][0])[:50].strip()
        if job["schedule"]["kind"] == "once" and job["repeat"]["times"] is None:
            job["repeat"]["times"] = 1
        with self._changing() as jobs:
            if any(other["name"] == job["name"] for other in jobs):
                job["name"] = f"{job['name']} {job['id'][:4]}"
            jobs.append(job)
        return job

    def edit(self, reference: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Change fields of a job."""
        _refuse_unknown(fields)
        with self._changing() as jobs:
            job = _find(jobs, reference)
            _apply(job, fields, self._clock())
            return job

    def pause(self, reference: str, reason: str = "") -> dict[str, Any]:
        """Let no occurrence run until resumed."""
        with self._changing() as jobs:
            job = _find(jobs, reference)
            job.update(enabled=False, state="paused", paused_at=_iso(self._clock()), paused_reason=reason)
            return job

    def resume(self, reference: str) -> dict[str, Any]:
        """Go on, from the next occurrence after now."""
        with self._changing() as jobs:
            job = _find(jobs, reference)
            job.update(enabled=True, state="scheduled", paused_at=None, paused_reason=None)
            _set_next(job, self._clock())
            return job

    def run_soon(self, reference: str) -> dict[str, Any]:
        """Let it run at the next tick, beside its schedule."""
        with self._changing() as jobs:
            job = _find(jobs, reference)
            job["run_now_at"] = _iso(self._clock())
            return job

    def remove(self, reference: str) -> dict[str, Any]:
        """Delete a job; its outputs stay."""
        with self._changing() as jobs:
            job = _find(jobs, reference)
            jobs.remove(job)
            return job

    def update(self, job_id: str, change: Callable[[dict[str, Any]], None]) -> None:
        """Change a job by a function; nothing happens if it is gone."""
        with self._changing() as jobs:
            for job in jobs:
                if job.get("id") == job_id:
                    change(job)

    @contextmanager
    def _changing(self) -> Iterator[list[dict[str, Any]]]:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with exclusive(self._lock):
            data = self._load()
            yield data["jobs"]
            data["updated_at"] = _iso(self._clock())
            text = json.dumps(data, indent=2, ensure_ascii=False) + "\n"
            replace_atomically(self._path, text.encode("utf-8", "replace"), mode=0o600)

    def _load(self) -> dict[str, Any]:
        raw = read_file(self._path)
        if raw is None or not raw.strip():
            return {"jobs": []}
        try:
            data = json.loads(raw)
        except ValueError as error:
            raise self._broken(str(error)) from error
        jobs = data.get("jobs") if isinstance(data, dict) else data
        if not isinstance(jobs, list) or not all(isinstance(job, dict) and job.get("id") for job in jobs):
            raise self._broken("it has no list of jobs with ids")
        return data if isinstance(data, dict) else {"jobs": jobs}

    def _broken(self, why: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{self._path} cannot be understood",
            why=why,
            remedy="Mend or move the file; it was left as it is.",
        )


def schedule_of(job: Mapping[str, Any]) -> Schedule:
    """The job's schedule. Raises `UsageError` if a hand edit broke it."""
    value = job.get("schedule")
    return Schedule.from_json(value if isinstance(value, Mapping) else {})


def timestamp(value: object) -> float | None:
    """Unix time of an ISO text or a number; None if it is neither."""
    if isinstance(value, int | float):
        return float(value)
    try:
        return datetime.fromisoformat(str(value)).astimezone().timestamp() if value else None
    except ValueError:
        return None


def advance(job: dict[str, Any], after: float) -> None:
    """Set the next occurrence after `after`, or mark the job as completed."""
    _set_next(job, after)


def _set_next(job: dict[str, Any], after: float) -> None:
    anchor = timestamp(job.get("created_at")) or after
    following = schedule_of(job).next_after(after, anchor=anchor)
    job["next_run_at"] = _iso(following) if following is not None else None
    if following is None and job.get("state") == "scheduled" and timestamp(job.get("last_run_at")):
        job["state"] = "completed"


def _apply(job: dict[str, Any], fields: Mapping[str, Any], now: float) -> None:
    for name, value in fields.items():
        if value is None:
            continue
        if name == "schedule":
            schedule = (
                Schedule.from_json(value)
                if isinstance(value, Mapping)
                else parse_schedule(str(value), now=now)
            )
            job["schedule"], job["schedule_display"] = schedule.to_json(), schedule.display
            if job.get("state") in {"completed", "error"}:
                job.update(state="scheduled", enabled=True)
            _set_next(job, now)
        elif name == "repeat":
            times = value.get("times") if isinstance(value, Mapping) else value
            if times is not None and (not isinstance(times, int) or times < 1):
                raise UsageError("repeat must be a whole number of at least 1")
            job["repeat"] = {"times": times, "completed": (job.get("repeat") or {}).get("completed", 0)}
        elif name in {"max_tokens", "max_usd"} and not _is_amount(value):
            raise UsageError(f"{name} must be a number of at least 0; 0 means the setting of all jobs")
        elif name == "misfire" and value not in MISFIRE:
            raise UsageError(f"misfire must be one of {', '.join(MISFIRE)}")
        elif name in {"skills", "enabled_toolsets", "context_from"} and isinstance(value, str):
            job[name] = [part.strip() for part in value.split(",") if part.strip()]
        else:
            job[name] = value


def _is_amount(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    unknown = [name for name in fields if name not in EDITABLE]
    if unknown:
        raise UsageError(f"A job has no {unknown[0]!r}", remedy=f"It has: {', '.join(EDITABLE)}")


def _find(jobs: Sequence[dict[str, Any]], reference: str) -> dict[str, Any]:
    wanted = reference.strip()
    exact = [job for job in jobs if job["id"] == wanted or job.get("name") == wanted]
    found = exact or [job for job in jobs if wanted and str(job["id"]).startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(f"{job['id']} ({job.get('name')})" for job in found)
        raise UsageError(f"{reference!r} fits several jobs", remedy=f"Say which by its id: {names}")
    raise UsageError(f"There is no job {reference!r}", remedy="hermes cron list shows them.")


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment).astimezone().isoformat()
