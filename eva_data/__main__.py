"""Makes `python -m eva_data` the same as `eva-data`."""

from eva_data.cli import main

main(prog_name="eva-data")
