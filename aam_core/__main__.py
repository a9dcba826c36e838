"""``python -m aam_core`` is the ``aam`` command."""

from aam_core.cli import main

if __name__ == "__main__":
    main()
