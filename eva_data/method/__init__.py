"""The method as pure functions that take frames and return frames."""
