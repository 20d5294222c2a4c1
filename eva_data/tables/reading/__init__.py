"""Tables of strangers: files, folders and Hub datasets, read as they are. Text is text, and the schema is the whole's."""

from eva_data.tables.reading.hub import open_hub
from eva_data.tables.reading.opening import open_path, read_file
from eva_data.tables.reading.places import is_there
from eva_data.tables.reading.source import Schema, Source

__all__ = ["Schema", "Source", "is_there", "open_hub", "open_path", "read_file"]
