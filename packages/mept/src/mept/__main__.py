"""`python -m mept` is `mept`."""

from mept.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
