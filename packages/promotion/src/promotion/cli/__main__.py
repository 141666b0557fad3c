"""`python -m promotion.cli`, as `accelerate launch -m promotion.cli` starts it."""

from promotion.cli import main

raise SystemExit(main())
