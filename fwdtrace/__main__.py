"""Run the command line as `python -m fwdtrace`."""

from fwdtrace.cli import main

if __name__ == "__main__":
    main()
