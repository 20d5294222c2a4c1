"""`python -m eva_data.cli` is `eva-data`."""

from eva_data.cli import main

main()
