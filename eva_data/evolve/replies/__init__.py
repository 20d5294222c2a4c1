"""Reads a creator's reply by its delimiters. A reply without delimiters is read by its structure.

`wrapping`, `chatter` and `markers` find the new prompt in the reply. `refusals`, `answers`, `broken` and `languages`
find out if the text is no new prompt. `words` and `requests` hold the words of each language, and `possible` searches
for them. `layout` describes the form of a text.
"""
