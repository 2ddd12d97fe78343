"""`python -m srm_utils` is the command `srm`."""

from srm_utils.cli.main import main

if __name__ == "__main__":
    main()
