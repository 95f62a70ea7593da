"""`python -m bcshopper`: the command line."""

from bcshopper._cli import main

main()
