"""Reads a creator's reply: by its delimiters where it has any, by its structure where it has none.

`wrapping`, `chatter` and `markers` find the prompt in the reply; `refusals`, `answers`, `broken` and
`languages` say why what was found is none. `words` and `requests` hold the words of each language, `layout` how a text
is set out.
"""
