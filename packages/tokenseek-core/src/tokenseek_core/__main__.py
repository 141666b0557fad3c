"""`python -m tokenseek_core` is `tokenseek`."""

from tokenseek_core.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
