"""`python -m sweep` is `stsweep`."""

from sweep.cli import main

if __name__ == "__main__":
    main()
