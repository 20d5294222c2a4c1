"""The dataset folder: its tables, its manifests and the seeds it begins with."""
