"""`python -m promotion` is `promotion`."""

from promotion.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
