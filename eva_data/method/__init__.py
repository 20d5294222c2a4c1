"""The method as pure functions: frames in, frames out."""
