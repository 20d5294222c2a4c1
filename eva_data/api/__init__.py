"""The Python face: what `import eva_data as ed` offers. Importing it imports no table or model library."""
