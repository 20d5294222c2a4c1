"""Makes `python -m eva_data.cli` the same as `eva-data`."""

from eva_data.cli import main

main()
