"""Key bindings of the interactive chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prompt_toolkit.filters import Condition, has_completions
from prompt_toolkit.key_binding import KeyBindings, KeyBindingsBase, KeyPressEvent, merge_key_bindings
from prompt_toolkit.key_binding.bindings.auto_suggest import load_auto_suggest_bindings
from prompt_toolkit.keys import Keys

if TYPE_CHECKING:
    from hermes_agent.cli.chat.screen import Screen


def bind_keys(screen: Screen) -> KeyBindingsBase:  # noqa: C901 - one small function per key
    """The bindings that differ from the usual Emacs ones."""
    bindings = KeyBindings()
    is_asking = Condition(lambda: screen.panel is not None and screen.panel.is_armed)
    has_choice = Condition(
        lambda: (
            screen.buffer.complete_state is not None
            and screen.buffer.complete_state.current_completion is not None
        )
    )

    @bindings.add(Keys.Any, filter=is_asking, eager=True)
    def _answer(event: KeyPressEvent) -> None:
        panel = screen.panel
        if panel is not None and not panel.answer.done():
            answer = panel.keys.get(event.data.lower())
            if answer is not None:
                panel.answer.set_result(answer)

    @bindings.add("enter", filter=has_choice, eager=True)
    def _accept(event: KeyPressEvent) -> None:
        screen.buffer.complete_state = None
        if event.current_buffer.text.startswith("/") and " " not in event.current_buffer.text:
            _send(screen)

    @bindings.add("enter", filter=~has_choice & ~is_asking, eager=True)
    def _enter(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if buffer.document.text_before_cursor.endswith("\\"):
            buffer.delete_before_cursor(1)
            buffer.insert_text("\n")
            return
        _send(screen)

    @bindings.add("escape", "enter")
    @bindings.add("c-j")
    def _newline(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @bindings.add("c-c", eager=True)
    def _interrupt(event: KeyPressEvent) -> None:
        panel = screen.panel
        if panel is None and not screen.listener.is_busy and event.current_buffer.text:
            event.current_buffer.reset()
            return
        screen.listener.on_interrupt()

    @bindings.add("c-d", filter=Condition(lambda: not screen.buffer.text), eager=True)
    def _leave(_event: KeyPressEvent) -> None:
        screen.listener.on_leave()

    @bindings.add("c-l", eager=True)
    def _clear(_event: KeyPressEvent) -> None:
        screen.clear()

    @bindings.add("c-o", eager=True)
    def _expand(_event: KeyPressEvent) -> None:
        screen.listener.on_expand()

    @bindings.add("escape", filter=has_completions)
    def _close_menu(event: KeyPressEvent) -> None:
        event.current_buffer.cancel_completion()

    return merge_key_bindings([load_auto_suggest_bindings(), bindings])


def _send(screen: Screen) -> None:
    buffer = screen.buffer
    text = buffer.text
    if not text.strip():
        return
    buffer.append_to_history()
    buffer.reset()
    screen.listener.on_line(text)
