"""The version of the rules by which tables follow from one another; every manifest records the one it was built by.

Version 1 (also where a manifest names none): pairs are made of texts that are equal character for character and of
rewards that are compared bit for bit.
Version 2: texts that differ in white space alone are one candidate, and rewards are compared up to a stated noise, in
pairs and in rewritten responses; short benchmark questions inside a longer prompt are contamination, and letters of
scripts without spaces count as the part of a word that they are.
"""

RULES = 2
