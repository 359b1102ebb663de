"""The steps of `hermes gateway setup` for one platform. Each only adds to the plan."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from hermes_agent.cli.checks.platform_trial import try_platform
from hermes_agent.cli.pickers.platform_plan import PlatformPlan, is_secret
from hermes_agent.cli.pickers.prompter import Choice, Prompter
from hermes_agent.core.errors import AuthFailedError, ConfigError, HermesError
from hermes_agent.core.redaction import Redactor
from hermes_agent.gateway.access import Access
from hermes_agent.gateway.pairing import PairingBook
from hermes_agent.gateway.platforms.table import Question

_TRIES = 3

PEOPLE = (
    Choice("pair", "People I approve one by one", "they write to the bot, you approve their code here"),
    Choice("list", "People on a list", "by their ids"),
    Choice("all", "Everybody", "anyone who finds the bot can then use this machine"),
)


class PlatformSteps:
    """Asks for one platform.

    Args:
        prompter: How to ask.
        plan: Collects the answers.
    """

    def __init__(self, prompter: Prompter, plan: PlatformPlan) -> None:
        self._prompter = prompter
        self._plan = plan

    def connect(self, *, is_untested: bool) -> bool:
        """Ask for what it needs until it connects; False if the person gave up."""
        if self._plan.entry.help:
            self._prompter.say(f"\n{self._plan.entry.help}\n")
        for attempt in range(_TRIES):
            self._ask_all(is_again=attempt > 0)
            if missing := self._plan.missing():
                self._prompter.say(f"Without {missing[0].label} it cannot be connected.")
                return False
            if is_untested:
                return True
            try:
                self._prompter.say(connected_line(self._plan, trial(self._plan)))
                return True
            except (AuthFailedError, ConfigError) as error:
                self._prompter.say("\n".join(("It did not work:", *shown_lines(self._plan, error))))
            except HermesError as error:
                self._prompter.say("\n".join(("It did not work:", *shown_lines(self._plan, error))))
                if self._prompter.confirm("Save it all the same, and let the gateway try again?", False):
                    return True
            if not self._prompter.confirm("Try again with other values?"):
                return False
        return False

    def people(self) -> None:
        """Who may talk."""
        plan = self._plan
        access = Access(plan.config.settings, plan.config.environ.get, PairingBook(plan.config.home))
        current = "list" if access.has_rules(plan.entry.name) else "pair"
        chosen = self._prompter.choose("Who may talk to it", PEOPLE, current=current)
        if chosen == "list":
            name = f"{plan.entry.name.upper()}_ALLOWED_USERS"
            title = f"Their ids, separated by commas{_hint(plan.entry.user_id_help)}"
            ids = self._prompter.ask(title, plan.config.environ.get(name) or "")
            if ids:
                plan.allow(ids)
        elif chosen == "all" and self._prompter.confirm(
            "Everybody who finds it can run commands on this machine. Really?", False
        ):
            plan.allow_all()

    def home_channel(self) -> None:
        """Where unasked messages go."""
        plan = self._plan
        own = plan.config.settings.platforms.get(plan.entry.name)
        current = plan.config.environ.get(f"{plan.entry.name.upper()}_HOME_CHANNEL") or (
            own.home_channel.chat_id if own is not None else ""
        )
        chat = self._prompter.ask(
            "Chat for messages nobody asked for, such as scheduled jobs (later: /sethome in the chat)",
            current,
        )
        if chat and chat != current:
            plan.set_home_channel(chat)

    def _ask_all(self, *, is_again: bool) -> None:
        for question in self._plan.questions:
            self._ask(question, is_again=is_again)

    def _ask(self, question: Question, *, is_again: bool) -> None:
        known = self._plan.known(question)
        title = f"{question.label}{_hint(question.help)}"
        if is_secret(question):
            more = "; Enter keeps the present one" if known else ""
            answer = self._prompter.ask_secret(f"{title}{more}")
        else:
            answer = self._prompter.ask(title, known or question.default)
        if answer and (answer != known or is_again):
            self._plan.answer(question, answer)


def trial(plan: PlatformPlan) -> Mapping[str, str]:
    """Really connect with what is planned. Raises `HermesError`."""
    settings, variable = plan.preview()
    return try_platform(plan.entry, settings, variable)


def connected_line(plan: PlatformPlan, facts: Mapping[str, str]) -> str:
    """What the platform says about us."""
    told = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return f"{plan.label} is connected{f': {told}' if told else ''}"


def shown_lines(plan: PlatformPlan, error: HermesError) -> list[str]:
    """The lines of an error without the secrets that were just typed."""
    typed = [
        value for name, value in plan.variables.items() if len(value) > 5 and is_secret(Question(name, ""))
    ]
    redact: Callable[[str], str] = Redactor([*plan.config.secret_values(), *typed]).redact
    return [redact(line) for line in error.lines]


def _hint(text: str) -> str:
    return f" ({text.rstrip('.')})" if text else ""
