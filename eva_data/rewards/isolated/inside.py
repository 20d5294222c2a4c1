"""The two programs that run inside sandboxes: one holds a model's code, the other the tests.

The tests call the code's functions through pipes, and only plain values come back, so that the code has no part in the
verdict: it cannot end the process of the tests, nor print a result, nor return an object that equals everything.

This module is the source of both. It needs the standard library alone, and runs as `python -I -c SOURCE hold|test ...`.
"""

from __future__ import annotations

import ast
import builtins
import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from typing import Any

LONGEST_LINE = 1_000_000
"""Most bytes of a request or a reply."""


class Unsupported(Exception):
    """A value that is not plain, or a reply that cannot be read."""


def packed(value: Any, depth: int = 0) -> Any:
    """A plain value as JSON: None, booleans, numbers, texts, bytes, lists, tuples, sets and dictionaries of these."""
    if depth > 50:
        raise Unsupported("a value is nested too deep")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return {"int": hex(value)}
    if isinstance(value, float):
        return {"float": float(value).hex()}
    if isinstance(value, complex):
        return {"complex": [value.real.hex(), value.imag.hex()]}
    if isinstance(value, str):
        return str(value)
    if isinstance(value, (bytes, bytearray)):
        return {"bytes": bytes(value).hex()}
    if isinstance(value, dict):
        return {"dict": [[packed(key, depth + 1), packed(own, depth + 1)] for key, own in value.items()]}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [packed(item, depth + 1) for item in value]}
    raise Unsupported(f"a {type(value).__name__} is no plain value")


def unpacked(value: Any, depth: int = 0) -> Any:
    """The plain value of `packed`."""
    if depth > 50:
        raise Unsupported("a value is nested too deep")
    if value is None or isinstance(value, (bool, str)):
        return value
    if not isinstance(value, dict) or len(value) != 1:
        raise Unsupported("a reply is no packed value")
    ((kind, own),) = value.items()
    if kind == "int":
        return int(own, 16)
    if kind == "float":
        return float.fromhex(own)
    if kind == "complex":
        return complex(*map(float.fromhex, own))
    if kind == "bytes":
        return bytes.fromhex(own)
    if kind == "dict":
        return {unpacked(key, depth + 1): unpacked(each, depth + 1) for key, each in own}
    kinds: dict[str, Callable[..., Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    if kind not in kinds:
        raise Unsupported("a reply is no packed value")
    return kinds[kind](unpacked(item, depth + 1) for item in own)


def canonical(value: Any) -> str:
    """A plain value as text, the same for values that Python finds equal: 1, 1.0 and True, and sets in any order.

    Floats have 12 digits. A list and a tuple differ. Raise Unsupported for a value that is not plain.
    """
    if value is None or isinstance(value, str):
        return repr(value)
    if isinstance(value, (bytes, bytearray)):
        return repr(bytes(value))
    if isinstance(value, float) and value == value // 1 and abs(value) < 1e12:
        value = int(value)
    if isinstance(value, int):
        return hex(value) if value.bit_length() > 10_000 else repr(int(value))
    if isinstance(value, float):
        return format(value, ".12g")
    if isinstance(value, complex):
        return format(value, ".12g")
    if isinstance(value, dict):
        return "{" + ", ".join(sorted(f"{canonical(key)}: {canonical(own)}" for key, own in value.items())) + "}"
    if isinstance(value, (set, frozenset)):
        return "set(" + ", ".join(sorted(map(canonical, value))) + ")"
    if isinstance(value, (list, tuple)):
        inner = ", ".join(map(canonical, value))
        return f"[{inner}]" if isinstance(value, list) else f"({inner},)"
    raise Unsupported(f"a {type(value).__name__} is no plain value")


def limit(limits: Mapping[str, int]) -> None:
    """Lower every limit of this process and of those that it starts, for good."""
    for name, most in limits.items():
        resource.setrlimit(getattr(resource, name), (most, most))


def hold(limits: Mapping[str, int]) -> None:
    """Hold the code of the first request, and answer calls of its functions."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    code = json.loads(requests.readline(LONGEST_LINE))
    limit(limits)
    names: dict[str, Any] = {"__name__": "solution"}

    def reply(call: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        try:
            said = {"value": packed(call(*arguments, **named))}
        except BaseException as error:
            said = {"error": type(error).__name__, "message": str(error)[:1000]}
        replies.write(json.dumps(said).encode() + b"\n")
        replies.flush()

    def run() -> None:
        exec(compile(code, "solution.py", "exec"), names)

    reply(run)
    for line in requests:
        asked = json.loads(line)
        function = names.get(asked["name"])
        if function is None:
            reply(missing)
        else:
            reply(function, *unpacked(asked["arguments"]), **unpacked(asked["named"]))


def missing() -> None:
    """What is called in the place of a function that the code does not have."""
    raise NameError("the code has no such function")


def test(limits: Mapping[str, int], to_code: int, from_code: int, verdicts: int) -> None:
    """Run the tests of the job at the standard input, and write `r`, then `1` or `0` per test to `verdicts`.

    After them comes one line of JSON per call of the job: `value`, the `canonical` text of what it gives, or `error`,
    the name of what it raises; null if it gives nothing that can be told.
    """
    job = json.loads(sys.stdin.buffer.read())
    limit(limits)
    requests, replies, results = os.fdopen(to_code, "wb"), os.fdopen(from_code, "rb"), os.fdopen(verdicts, "wb")

    def ask(line: bytes) -> Any:
        if len(line) > LONGEST_LINE:
            raise Unsupported("the arguments are too long")
        try:
            requests.write(line + b"\n")
            requests.flush()
        except BrokenPipeError:
            raise Unsupported("the code has ended") from None
        said = replies.readline(LONGEST_LINE)
        if not said.endswith(b"\n"):
            raise Unsupported("there is no reply")
        found = json.loads(said)
        if "error" in found:
            kind: Any = getattr(builtins, str(found["error"]), None)
            known = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if known else RuntimeError)(str(found.get("message")))
        return unpacked(found["value"])

    def function(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            asked = {"name": name, "arguments": packed(arguments), "named": packed(named)}
            return ask(json.dumps(asked).encode())

        return call

    def passes(source: str) -> bool:
        try:
            tree = ast.parse(source)
            names: dict[str, Any] = {"__name__": "tests"}
            names |= {name: function(name) for name in unknown(tree)}
            exec(compile(tree, "tests.py", "exec"), names)
        except BaseException:
            return False
        return True

    def output(source: str) -> Any:
        try:
            tree = ast.parse(source.strip(), mode="eval")
            names: dict[str, Any] = {"__name__": "inputs"}
            names |= {name: function(name) for name in unknown(tree)}
            return {"value": canonical(eval(compile(tree, "inputs.py", "eval"), names))}
        except Unsupported:
            return None
        except BaseException as error:
            return {"error": type(error).__name__}

    results.write(b"r")
    results.flush()
    try:
        ask(json.dumps(job["code"]).encode())
        runs = True
    except BaseException:
        runs = False
    for source in job["tests"]:
        results.write(b"1" if runs and passes(source) else b"0")
        results.flush()
    for source in job["calls"]:
        line = json.dumps(output(source) if runs else None).encode()
        results.write((line if len(line) < LONGEST_LINE else b"null") + b"\n")
        results.flush()


def unknown(tree: ast.AST) -> set[str]:
    """The names that a test reads and neither sets nor has from Python: the functions of the code."""
    read: set[str] = set()
    own: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            (read if isinstance(node.ctx, ast.Load) else own).add(node.id)
        elif isinstance(node, ast.arg):
            own.add(node.arg)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            own.add(node.name)
        elif isinstance(node, ast.alias):
            own.add((node.asname or node.name).partition(".")[0])
        elif isinstance(node, ast.ExceptHandler) and node.name:
            own.add(node.name)
    return {name for name in read - own if not hasattr(builtins, name)}


if __name__ == "__main__":
    given = json.loads(sys.argv[2])
    hold(given) if sys.argv[1] == "hold" else test(given, *map(int, sys.argv[3:]))
