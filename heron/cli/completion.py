"""`heron completion`: scripts with which shells complete command lines.

They are made of the commands as they are here, so that a shell asks nothing of Heron when a key is pressed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from heron.backends.choose import NAMES
from heron.cli import COMMANDS
from heron.cli import help as told
from heron.errors import RequestError

#: What some options take; others take files, or what nobody can guess.
VALUES = {
    "--backend": NAMES,
    "--kv-dtype": ("f16", "f32", "q8_0"),
    "--activations": ("int8", "f32"),
    "--pooling": ("mean", "cls", "last"),
    "--speculate": ("off", "ngram", "draft"),
    "--log-level": ("debug", "info", "warning", "error"),
    "--log-format": ("plain", "json"),
}

SHELLS = ("bash", "zsh", "fish")

#: How a shell's case says "no command yet".
_NONE = "''"

#: What zsh completes behind the options, other than files.
_ZSH_REST = {"": "'1:command:->command' '*::argument:->rest'", "completion": f"'*:shell:({' '.join(SHELLS)})'"}


def completion(
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")],
) -> None:
    """Print a script with which a shell completes Heron's commands, options and files.

    \b
    heron completion bash > ~/.local/share/bash-completion/completions/heron
    heron completion zsh > "${fpath[1]}/_heron"
    heron completion fish > ~/.config/fish/completions/heron.fish
    source <(heron completion bash)              for this shell alone
    """
    if shell not in SHELLS:
        raise RequestError(f"there is no completion for {shell!r}; there is for {', '.join(SHELLS)}")
    print(SCRIPTS[shell](), end="")


def _options() -> Iterator[tuple[str, list[tuple[list[str], bool, str]]]]:
    """Each command with its options: their names, whether a value follows, and what they are for. "" is `heron` itself."""
    from heron.cli.reference import commands, group

    for name, command in (("", group()), *commands()):
        found = [([*each.opts, *each.secondary_opts], not each.is_flag, each.help or "") for each in told.options(command)]
        yield name, [*found, (["-h", "--help"], False, "Show this message and exit.")]


def _bash() -> str:
    cases, values = [], []
    for name, options in _options():
        known = " ".join(text for names, _, _ in options for text in names)
        cases.append(f"        {name or _NONE}) options='{known}' ;;")
    for option, words in VALUES.items():
        values.append(f"        {option}) COMPREPLY=($(compgen -W '{' '.join(words)}' -- \"$word\")); return ;;")
    return f"""# bash completion of heron; made by `heron completion bash`
_heron() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}} command= options= each
    for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $each in {"|".join(COMMANDS)}) command=$each; break ;; esac
    done
    COMPREPLY=()
    if [[ $word == = ]]; then
        word=
    elif [[ $before == = ]]; then
        before=${{COMP_WORDS[COMP_CWORD-2]}}
    fi
    case $before in
{_lines(values)}
    esac
    case $command in
{_lines(cases)}
    esac
    if [[ $word == -* ]]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    elif [[ -z $command ]]; then
        COMPREPLY=($(compgen -W '{" ".join(COMMANDS)}' -- "$word"))
    elif [[ $command == completion ]]; then
        COMPREPLY=($(compgen -W '{" ".join(SHELLS)}' -- "$word"))
    fi
}}
complete -o default -F _heron heron
"""


def _zsh() -> str:
    commands = [f"        {_quoted(f'{name}:{text}')}" for name, (_, text) in COMMANDS.items()]
    cases = []
    for name, options in _options():
        specs = " ".join(spec for option in options for spec in _zsh_option(*option))
        rest = _ZSH_REST.get(name, "'*:file:_files'")
        cases.append(f"        {name or _NONE})\n            _arguments -s {specs} {rest} ;;")
    return f"""#compdef heron
# zsh completion of heron; made by `heron completion zsh`
_heron() {{
    local -a commands
    commands=(
{_lines(commands)}
    )
    local curcontext=$curcontext state line
    _heron_options ''
    case $state in
        command) _describe command commands ;;
        rest) _heron_options "$line[1]" ;;
    esac
}}
_heron_options() {{
    case $1 in
{_lines(cases)}
    esac
}}
if [ "$funcstack[1]" = _heron ]; then _heron "$@"; else compdef _heron heron; fi
"""


def _zsh_option(names: list[str], takes: bool, about: str) -> list[str]:
    about = about.replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    words = next((VALUES[name] for name in names if name in VALUES), None)
    value = "" if not takes else f":value:({' '.join(words)})" if words else ":value:_files"
    return [_quoted(f"*{name}{'=' if takes and name.startswith('--') else ''}[{about}]{value}") for name in names]


def _fish() -> str:
    known = " ".join(COMMANDS)
    lines = ["# fish completion of heron; made by `heron completion fish`"]
    for name, (_, text) in COMMANDS.items():
        lines.append(f"complete -c heron -n 'not __fish_seen_subcommand_from {known}' -f -a {name} -d {_quoted(text, fish=True)}")
    for name, options in _options():
        when = f"__fish_seen_subcommand_from {name}" if name else f"not __fish_seen_subcommand_from {known}"
        for names, takes, about in options:
            words = next((VALUES[option] for option in names if option in VALUES), None)
            value = "" if not takes else f" -x -a '{' '.join(words)}'" if words else " -r"
            spelled = " ".join(map(_fish_name, names))
            lines.append(f"complete -c heron -n '{when}' {spelled}{value} -d {_quoted(about, fish=True)}")
    lines.append(f"complete -c heron -n '__fish_seen_subcommand_from completion' -f -a '{' '.join(SHELLS)}'")
    return _lines(lines) + "\n"


def _fish_name(option: str) -> str:
    """-l long, -s a letter, -o -long."""
    if option.startswith("--"):
        return f"-l {option[2:]}"
    return f"-{'s' if len(option) == 2 else 'o'} {option[1:]}"


def _lines(lines: Iterable[str]) -> str:
    return "\n".join(lines)


def _quoted(text: str, fish: bool = False) -> str:
    """A word in single quotes, as these shells read it."""
    if fish:
        return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + text.replace("'", "'\\''") + "'"


SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
