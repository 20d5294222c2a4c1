"""Figures with their uncertainty: numbers in, numbers out, thin over scipy and statsmodels."""
