"""Readers of foreign tables: files, folders and Hub datasets. Text stays text; the schema comes from the whole file."""

from eva_data.tables.reading.hub import open_hub
from eva_data.tables.reading.kinds import described
from eva_data.tables.reading.opening import open_path
from eva_data.tables.reading.source import Schema, Source

__all__ = ["Schema", "Source", "described", "open_hub", "open_path"]
