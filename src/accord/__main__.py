"""`python -m accord`, for torchrun and wherever the script is not on the path: the same as `accord`."""

from accord.commands.app import main

if __name__ == "__main__":
    main()
