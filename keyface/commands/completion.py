"""`keyface completion`: what a shell needs to complete keyface's commands with the Tab key."""

from typing import Literal


def completion(shell: Literal["bash", "zsh", "fish"]) -> None:
    """Print a script that lets a shell complete commands and files.

    For bash, put `eval "$(keyface completion bash)"` into ~/.bashrc; for zsh the same with zsh into ~/.zshrc,
    after compinit; for fish, `keyface completion fish | source` into ~/.config/fish/config.fish.

    Args:
        shell: Which shell.
    """
    from argcomplete import shellcode

    print(shellcode(["keyface", "lightning"], shell=shell))
