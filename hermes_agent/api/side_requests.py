"""Side requests of web front ends: titles, tags, follow-up questions, search queries.

Front ends send them by themselves after an answer, through the same endpoint. A run with tools for each
would cost time and money and could act a second time; the plain model answers them.
"""

from __future__ import annotations

import re
from typing import Final

_MOST_CHARS: Final = 60_000
"""Side requests quote the conversation; what is much longer is something else."""

_BEGINNINGS: Final = re.compile(
    r"""\s*(?:
      # Open WebUI
      \#\#\#\s*Task:\s*(?:
          Generate\s+(?:a\s+concise|\d\s*-\s*\d\s+broad\s+tags|a\s+detailed\s+prompt\s+for\s+am?\s+image)
        | Suggest\s+\d\s*-\s*\d\s+(?:relevant\s+)?follow-?up
        | Analy[sz]e\s+the\s+chat\s+history\s+to\s+determine\s+the\s+necessity
        | You\s+are\s+an\s+autocompletion\s+system
        | Based\s+on\s+the\s+(?:user's|chat)\b.{0,60}\bemoji )
    | Create\s+a\s+concise,?\s+\d\s*-\s*\d\s+word\s+(?:phrase|title)
    | Your\s+task\s+is\s+to\s+reflect\s+the\s+speaker's\s+likely\s+facial\s+expression
      # LibreChat
    | (?:Please\s+)?(?:Provide|Generate|Write)\s+a\s+(?:concise,?\s+)?(?:5|five)-?\s?words?-?
          (?:\s?or-?\s?less)?,?\s+title
    | Write\s+a\s+(?:concise|short)\s+title\s+for\s+this\s+conversation
      # LobeChat, Cherry Studio, NextChat, Chatbox
    | You\s+are\s+(?:a|an)\s+(?:professional\s+)?(?:conversation\s+summari[sz]er|
          assistant\s+skilled\s+in\s+conversation|expert\s+at\s+naming\s+conversations)\b
    | Based\s+on\s+the\s+chat\s+history,\s+give\s+this\s+conversation\s+a\s+name
    | Please\s+generate\s+a\s+four\s+to\s+five\s+word\s+title
    | 你是一名擅长会话的助理 | 使用四到五个字直接返回这句话的简要主题
      # Big-AGI, Jan, AnythingLLM and others
    | (?:Summari[sz]e|Name)\s+(?:this|the)\s+(?:conversation|chat)\s+(?:above\s+)?in\s+
          (?:\w+\s+){0,6}(?:words|title)
    | Generate\s+a\s+(?:very\s+)?(?:short|concise|brief)[\w,\s-]{0,40}\btitle\s+
          (?:for|of|that|summari[sz]ing)\b [\w\s]{0,30}\b(?:conversation|chat|message|dialog(?:ue)?|thread)\b
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_ENDINGS: Final = re.compile(
    r"(?:without\s+any\s+lead-in,\s+punctuation|Respond\s+only\s+with\s+the\s+title|"
    r"Output\s+ONLY\s+the\s+title(?:\s+text)?|Write\s+only\s+the\s+title|只返回标题|直接返回标题)"
    r"[^\n]{0,200}\s*$",
    re.IGNORECASE,
)


def is_side_request(text: str, system: str = "") -> bool:
    """Whether a front end (and not a person) asks, to judge by its wording.

    Args:
        text: The last user message.
        system: The client's system message.
    """
    if len(text) > _MOST_CHARS:
        return False
    if _BEGINNINGS.match(text[:600]) or _BEGINNINGS.match(system[:600]):
        return True
    return bool(_ENDINGS.search(text[-300:]) or _ENDINGS.search(system[-300:]))
