"""All options of all commands as text, which a test compares with `tests/cli/options.txt`.

After a decision to change them, write the file anew:

    .venv/bin/python -P -m keyface.cli.options > tests/cli/options.txt
"""

from keyface.cli.commands import all_commands
from keyface.cli.parsing.parser import command_parser


def option_list() -> str:
    """Return a line for each word and option of each of keyface's own commands, in the order of the table."""
    lines = []
    for words, _ in all_commands():
        for action in command_parser(words)._actions:
            if "--help" in action.option_strings:
                continue
            name = "/".join(action.option_strings) or str(action.metavar)
            value = f" {action.metavar}" if action.option_strings and action.metavar else ""
            lines.append(f"{' '.join(words)} {name}{value}\n")
    return "".join(lines)


if __name__ == "__main__":
    print(option_list(), end="")
