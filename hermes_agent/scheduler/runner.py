"""Runs one occurrence of a job: script, agent session, output file, delivery."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from hermes_agent.agent.service import AgentService, SessionOptions
from hermes_agent.config.files import replace_atomically
from hermes_agent.config.paths import Home
from hermes_agent.config.sections.cron import CronSettings
from hermes_agent.core.errors import HermesError, UsageError
from hermes_agent.core.events import RunFinished
from hermes_agent.core.injection import find_orders
from hermes_agent.core.jobs import OccurrenceState
from hermes_agent.scheduler.script import run_script

SILENT = "[SILENT]"
LOCAL = "local"
CHAINED_MAX_CHARS = 20_000

Deliver = Callable[[str, str, Mapping[str, Any]], Awaitable[str | None]]
"""(target, text, job) to an error text, or None if it was taken over for delivery."""

JOB_RULES = (
    "[hermes] This is the scheduled job {name!r}; nobody is watching, so do not ask questions. "
    f"Your final answer is delivered as it is. If there is nothing worth telling, answer exactly {SILENT}."
)


@dataclass(frozen=True, slots=True)
class JobResult:
    """How an occurrence ended."""

    state: OccurrenceState
    text: str = ""
    error: str = ""
    delivery_error: str = ""
    session_id: str = ""
    output_path: str = ""


class JobRunner:
    """Runs jobs with the one run engine.

    Attributes:
        settings: The `cron` section; may be replaced at any time.

    Args:
        service: Gives the agent service whose sessions start in a directory (None: the configured one).
        deliver: Sends text to a target.
        env: Environment of scripts, without secrets.
    """

    def __init__(
        self,
        home: Home,
        settings: CronSettings,
        service: Callable[[Path | None], Awaitable[AgentService]],
        deliver: Deliver,
        env: Mapping[str, str],
    ) -> None:
        self._home = home
        self.settings = settings
        self._service = service
        self._deliver = deliver
        self._env = env

    async def run(self, job: Mapping[str, Any], progress: Callable[[], None] = lambda: None) -> JobResult:
        """Run to the end; expected failures are in the result, only cancellation is raised.

        Args:
            job: As in jobs.json.
            progress: Called whenever something happens (keeps the lease).
        """
        try:
            result = await self._work(job, progress)
        except HermesError as error:
            result = JobResult("error", error=" ".join(error.lines))
        path = self._write_output(job, result)
        delivery = await self._send(job, result)
        return JobResult(result.state, result.text, result.error, delivery, result.session_id, str(path))

    async def _work(self, job: Mapping[str, Any], progress: Callable[[], None]) -> JobResult:
        prompt = str(job.get("prompt") or "")
        cwd = _workdir(job)
        if (reason := find_orders(prompt)) is not None:
            return JobResult("error", error=f"Not run: the prompt contains {reason}")
        if script := job.get("script"):
            output = await run_script(
                str(script),
                self._home.root / "scripts",
                env=self._env,
                timeout_seconds=self.settings.script_timeout,
                cwd=cwd,
            )
            progress()
            if job.get("no_agent"):
                return JobResult("ok" if output.text else "silent", output.text)
            if not output.wakes_agent:
                return JobResult("silent", output.text)
            prompt = f"{prompt}\n\nOutput of the script {script}:\n{output.text}".strip()
        if skills := job.get("skills") or ([job["skill"]] if job.get("skill") else []):
            prompt = f"Use these skills: {', '.join(map(str, skills))}.\n\n{prompt}"
        for earlier in job.get("context_from") or []:
            prompt += f"\n\nLast output of the job {earlier}:\n{self._last_output(str(earlier))}"
        rules = JOB_RULES.format(name=str(job.get("name") or job["id"]))
        return await self._ask(job, f"{rules}\n\n{prompt}", cwd, progress)

    async def _ask(
        self, job: Mapping[str, Any], prompt: str, cwd: Path | None, progress: Callable[[], None]
    ) -> JobResult:
        service = await self._service(cwd)
        options = SessionOptions(
            source="cron",
            provider=job.get("provider") or None,
            model=job.get("model") or None,
            toolsets=job.get("enabled_toolsets") or None,
            max_turns=job.get("max_turns") or None,
            is_yolo=service.settings.approvals.cron_mode == "approve",
            user_id=f"cron:{job['id']}",
        )
        session = await service.create(options)
        session.budget.limit_job(job.get("max_tokens"), job.get("max_usd"))
        try:
            run = session.start(prompt, is_interactive=False)
            events = aiter(run)
            finished: RunFinished | None = None
            while finished is None:
                try:
                    event = await asyncio.wait_for(anext(events), self.settings.inactivity_timeout)
                except TimeoutError:
                    run.interrupt()
                    await run.result()
                    limit = f"{self.settings.inactivity_timeout:g}"
                    return JobResult("error", error=f"No progress for {limit} s", session_id=session.id)
                progress()
                finished = event if isinstance(event, RunFinished) else None
        finally:
            await session.aclose()
        if finished.outcome in {"failed", "interrupted", "budget_exhausted", "truncated"}:
            error = " ".join(finished.error) or finished.outcome
            return JobResult("error", finished.text, error, session_id=session.id)
        text = finished.text.strip()
        state: OccurrenceState = "silent" if not text or text == SILENT else "ok"
        return JobResult(state, text, session_id=session.id)

    def _write_output(self, job: Mapping[str, Any], result: JobResult) -> Path:
        folder = self._home.cron / "output" / str(job["id"])
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S")
        path = folder / f"{name}.md"
        body = result.text if not result.error else f"{result.text}\n\nError: {result.error}".strip()
        replace_atomically(path, f"{body}\n".encode("utf-8", "replace"), mode=0o600)
        return path

    def _last_output(self, reference: str) -> str:
        folder = self._home.cron / "output" / Path(reference).name
        files = sorted(folder.glob("*.md")) if folder.is_dir() else []
        if not files:
            return "(none yet)"
        return files[-1].read_text(encoding="utf-8", errors="replace")[-CHAINED_MAX_CHARS:]

    async def _send(self, job: Mapping[str, Any], result: JobResult) -> str:
        if result.state == "silent":
            return ""
        text = result.text if result.state == "ok" else f"⚠ The job failed: {result.error}"
        if self.settings.wrap_response:
            text = f"Cronjob Response: {job.get('name') or job['id']}\n\n{text}"
        problems = []
        for target in _targets(job, failed=result.state == "error"):
            problem = await self._deliver(target, text, job)
            if problem:
                problems.append(f"{target}: {problem}")
        return "; ".join(problems)


def _workdir(job: Mapping[str, Any]) -> Path | None:
    if not job.get("workdir"):
        return None
    path = Path(str(job["workdir"])).expanduser()
    if not path.is_dir():
        raise UsageError(f"The working directory {path} does not exist")
    return path


def _targets(job: Mapping[str, Any], *, failed: bool) -> list[str]:
    value = job.get("deliver") or LOCAL
    names = value if isinstance(value, list) else str(value).split(",")
    targets = [str(name).strip() for name in names]
    if failed and job.get("alert"):
        targets.append(str(job["alert"]))
    return list(dict.fromkeys(target for target in targets if target and target != LOCAL))
