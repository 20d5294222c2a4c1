"""Figures as people read them: dollars, seconds, rounded numbers."""

from __future__ import annotations


def dollars(amount: float) -> str:
    """`$12.35`. Small amounts have as many decimals as they need."""
    places = 2 if amount >= 1 or amount == 0 else 4 if amount >= 0.01 else 6
    return f"${amount:,.{places}f}"


def rounded(number: int) -> str:
    """`9,999`, `57.6 k`, `1.27 M`. A plan is not more precise than three digits."""
    if number < 10_000:
        return f"{number:,}"
    digits = float(f"{number:.3g}")
    unit, size = next((unit, size) for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if digits >= size)
    return f"{digits / size:g} {unit}"


def replies(count: int) -> str:
    """`1 reply`, `2,000 replies`."""
    return f"{count:,} {'reply' if count == 1 else 'replies'}"


def duration(seconds: float) -> str:
    """`1 h 02 min`, `3 min`, `12 s`. A plan is not more precise than two digits."""
    if seconds < 90:
        return f"{seconds:.0f} s" if seconds >= 1 or not seconds else "< 1 s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
