"""`python -m n2s_core`."""

from n2s_core.cli import main

if __name__ == "__main__":
    main()
