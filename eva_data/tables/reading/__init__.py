"""Tables of strangers: files, folders and Hub datasets, as they are; text is text, the schema is that of the whole."""

from eva_data.tables.reading.hub import open_hub
from eva_data.tables.reading.kinds import described
from eva_data.tables.reading.opening import open_path
from eva_data.tables.reading.source import Schema, Source

__all__ = ["Schema", "Source", "described", "open_hub", "open_path"]
