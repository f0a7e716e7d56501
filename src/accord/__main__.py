"""The program `accord`, and `python -m accord` for torchrun and wherever the script is not on the path."""

import os
import sys

from accord.commands import front_page


def main() -> None:
    """Print the page of all commands at once; for everything else load the command line."""
    if front_page.wanted(sys.argv[1:]):
        try:
            front_page.show()
        except BrokenPipeError:  # whoever read it is gone (`| head`)
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        return
    from accord.commands.app import main as command_line

    command_line()


if __name__ == "__main__":
    main()
