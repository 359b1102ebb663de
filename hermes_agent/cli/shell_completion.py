"""Completion in bash, zsh and fish: the code for the shell, and the answers it asks for at each Tab.

The shell runs `hermes completion --answer SHELL -- WORDS…`, which imports the command that is being
completed and nothing else: no settings are read, no database is opened. Each answer is one line,
`kind TAB value TAB help`, kind being `plain`, `file` or `dir`.
"""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem, ShellComplete, split_arg_string

from hermes_agent.cli.table import COMMANDS
from hermes_agent.core.errors import HermesError

SHELLS = ("bash", "zsh", "fish")

INSTRUCTIONS = {
    "bash": """\
# hermes completion for bash. Either evaluate it in ~/.bashrc:
#     eval "$(hermes completion bash)"
# or, so that shells start faster, keep it in a file that bash-completion loads when needed:
#     hermes completion bash > ~/.local/share/bash-completion/completions/hermes
""",
    "zsh": """\
#compdef hermes
# hermes completion for zsh. Either evaluate it in ~/.zshrc, after compinit:
#     eval "$(hermes completion zsh)"
# or keep it in a directory of $fpath:
#     hermes completion zsh > ~/.zfunc/_hermes
""",
    "fish": """\
# hermes completion for fish:
#     hermes completion fish > ~/.config/fish/completions/hermes.fish
""",
}

SCRIPTS = {
    "bash": r"""
_hermes_completion() {
    local line=${COMP_LINE:0:COMP_POINT} word=${COMP_WORDS[COMP_CWORD]} kind value help cut=""
    COMPREPLY=()
    # Bash splits words at colons and equal signs; hermes does not. What stands before is cut off again.
    local whole=${line##*[[:space:]]}
    case $whole in *[:=]*) [ "$whole" != "$word" ] && cut=${whole%"${whole##*[:=]}"} ;; esac
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            plain) COMPREPLY+=("$(printf '%q' "$value")") ;;
            dir) compopt -o filenames 2>/dev/null
                while read -r value; do COMPREPLY+=("$value"); done < <(compgen -d -- "$word") ;;
            file) compopt -o filenames 2>/dev/null
                while read -r value; do COMPREPLY+=("$value"); done < <(compgen -f -- "$word") ;;
        esac
    done < <("$1" completion --answer bash -- "$line" 2>/dev/null)
    if [ -n "$cut" ]; then COMPREPLY=("${COMPREPLY[@]#"$cut"}"); fi
    if [ ${#COMPREPLY[@]} -eq 1 ]; then
        case ${COMPREPLY[0]} in *:) compopt -o nospace 2>/dev/null ;; esac
    fi
}
complete -o nosort -F _hermes_completion hermes 2>/dev/null || complete -F _hermes_completion hermes
""",
    "zsh": r"""
_hermes() {
    local kind value help
    local -a described
    while IFS=$'\t' read -r kind value help; do
        case $kind in
            plain) described+=("${value//:/\\:}${help:+:$help}") ;;
            dir) _path_files -/ ;;
            file) _path_files ;;
        esac
    done < <("${words[1]}" completion --answer zsh -- "${(@)words[2,CURRENT-1]}" "$PREFIX" 2>/dev/null)
    if (( ${#described} )); then _describe -V hermes described; fi
}
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _hermes "$@"; else compdef _hermes hermes; fi
""",
    "fish": r"""
function __hermes_completion
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    for line in ($words[1] completion --answer fish -- $words[2..-1] "$current" 2>/dev/null)
        set -l parts (string split \t -- $line)
        switch $parts[1]
            case plain
                printf '%s\t%s\n' $parts[2] "$parts[3]"
            case dir
                __fish_complete_directories "$current"
            case file
                __fish_complete_path "$current"
        end
    end
end
complete --command hermes --no-files --keep-order --arguments '(__hermes_completion)'
""",
}


def script(shell: str) -> str:
    """The code to evaluate in a shell, with instructions on top."""
    return INSTRUCTIONS[shell] + SCRIPTS[shell]


def answer(root: click.Command, shell: str, words: Sequence[str]) -> list[str]:
    """The lines for a shell.

    Args:
        root: The command tree.
        shell: Who asks.
        words: From bash, the line up to the cursor; from the others the words after the program's name,
            the last one being the word under the cursor.
    """
    if shell == "bash":
        line = words[0] if words else ""
        split = split_arg_string(line)[1:]
        if not line or line[-1].isspace():
            split.append("")
    else:
        split = list(words)
    *args, incomplete = split or [""]
    try:
        return [_line(item) for item in _items(root, args, incomplete)]
    except (click.ClickException, HermesError):  # a line that is wrong has no continuation
        return []


def _items(root: click.Command, args: list[str], incomplete: str) -> list[CompletionItem]:
    is_first = all(arg.startswith("-") for arg in args)
    if is_first and not incomplete.startswith("-") and not _awaits_value(root, args):
        return [
            CompletionItem(entry.name, help=entry.short_help)
            for entry in COMMANDS
            if entry.name.startswith(incomplete)
        ]
    return ShellComplete(root, {}, "hermes", "").get_completions(args, incomplete)


def _awaits_value(root: click.Command, args: list[str]) -> bool:
    """Whether the last word is an option of the root that takes a value."""
    last = args[-1] if args else ""
    return any(
        isinstance(parameter, click.Option) and last in parameter.opts and not parameter.is_flag
        for parameter in root.params
    )


def _line(item: CompletionItem) -> str:
    help_text = " ".join((item.help or "").split())
    return f"{item.type}\t{item.value}\t{help_text}"
