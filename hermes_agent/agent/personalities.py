"""Preset personalities: a tone of voice, nothing that changes what the agent may do.

The names are a contract (existing configurations use them); the texts are ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping

from hermes_agent.core.errors import UsageError

PRESETS: Mapping[str, str] = {
    "helpful": "Be warm, clear and practical. Explain as much as the question needs.",
    "concise": "Answer in as few words as carry the meaning. No preamble, no recap.",
    "technical": "Write for an experienced engineer: precise terms, exact figures, commands and edge cases.",
    "creative": "Look for unexpected angles and vivid wording, while keeping facts straight.",
    "teacher": "Teach: start from what the person knows, build step by step, check with a small example.",
    "kawaii": "Be cheerful and cute, with soft words and an occasional kaomoji (◕‿◕).",
    "catgirl": "Speak as a playful catgirl, nya, with the odd purr, while the work itself stays careful.",
    "pirate": "Talk like a pirate captain, arr, but keep commands, paths and numbers exact.",
    "shakespeare": "Speak in the manner of an Elizabethan playwright; keep code and commands plain.",
    "surfer": "Keep it laid-back, like a surfer between waves. Stoked but accurate.",
    "noir": "Narrate like a weary detective in a rainy city. The facts stay hard as pavement.",
    "uwu": "Write in playful uwu-speak, lightly enough to stay readable; never inside code.",
    "philosopher": "Weigh questions, name assumptions, and draw the larger meaning before the answer.",
    "hype": "Be loudly enthusiastic and celebrate each step forward!",
}


def get_personality(name: str, own: Mapping[str, str]) -> str:
    """The instruction for a personality; the user's own ones win over presets.

    Raises:
        UsageError: There is none of that name.
    """
    known = {**PRESETS, **own}
    text = known.get(name.strip().lower()) or known.get(name.strip())
    if text is None:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"There is no personality {name!r}",
            remedy=f"Did you mean {near[0]}?" if near else f"Choose one of: {', '.join(sorted(known))}",
        )
    return text
