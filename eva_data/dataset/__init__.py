"""The dataset folder: its tables, its manifests and its first prompts."""
