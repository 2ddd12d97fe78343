"""The command `srm`, one file for each group of commands."""
