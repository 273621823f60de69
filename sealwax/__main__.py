"""``python -m sealwax``: the command line."""

from sealwax.cli import main

if __name__ == "__main__":
    main()
