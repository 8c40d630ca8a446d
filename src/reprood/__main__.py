"""`python -m reprood`, which torchrun needs; the command `reprood` does the same."""

from reprood.cli.main import main

if __name__ == "__main__":
    main()
