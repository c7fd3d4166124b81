"""`python -m fairway` is the command `fairway`."""

from fairway.cli import main

main(prog_name="fairway")
