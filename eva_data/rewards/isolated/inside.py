"""The two programs that run inside sandboxes: one holds a model's code, the other the tests.

The tests call the code's functions through pipes. Plain values come back as copies, and other objects as handles, each
of which equals itself alone. So the code has no part in the verdict: it cannot end the process of the tests, nor print
a result, nor return an object that equals everything.

This module is the source of both. It needs the standard library alone, and runs as `python -I -c SOURCE hold|test ...`.
"""

from __future__ import annotations

import ast
import builtins
import json
import operator
import os
import resource
import sys
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from types import ModuleType
from typing import Any

LONGEST_LINE = 1_000_000
"""Most bytes of a request or a reply."""


OPERATIONS: dict[str, Callable[..., Any]] = {
    "call": lambda what, *arguments, **named: what(*arguments, **named),
    "attribute": getattr,
    "set_attribute": setattr,
    "item": operator.getitem,
    "set_item": operator.setitem,
    "length": len,
    "iterator": iter,
    "next": next,
    "text": str,
    "truth": bool,
}
"""What tests can do with an object of the code. Nothing here compares or computes: the tests would believe the code."""


class Unsupported(Exception):
    """A value that cannot be handed over, or a reply that cannot be read."""


def no_object(value: Any) -> Any:
    """Refuse what is no plain value."""
    raise Unsupported(f"a {type(value).__name__} is no plain value")


def packed(value: Any, handle: Callable[[Any], int] = no_object, depth: int = 0) -> Any:
    """A plain value as JSON: None, booleans, numbers, texts, bytes, lists, tuples, sets and dictionaries of these.

    Any other object is its `handle`.
    """
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
        pairs = [[packed(key, handle, depth + 1), packed(own, handle, depth + 1)] for key, own in value.items()]
        return {"dict": pairs}
    for kind in (list, tuple, set, frozenset):
        if isinstance(value, kind):
            return {kind.__name__: [packed(item, handle, depth + 1) for item in value]}
    return {"object": handle(value)}


def unpacked(value: Any, found: Callable[[Any], Any] = no_object, depth: int = 0) -> Any:
    """The value of `packed`. `found` gives the object of a handle."""
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
    if kind == "object":
        return found(own)
    if kind == "dict":
        return {unpacked(key, found, depth + 1): unpacked(each, found, depth + 1) for key, each in own}
    kinds: dict[str, Callable[..., Any]] = {"list": list, "tuple": tuple, "set": set, "frozenset": frozenset}
    if kind not in kinds:
        raise Unsupported("a reply is no packed value")
    return kinds[kind](unpacked(item, found, depth + 1) for item in own)


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
    """Hold the code of the first request, and do what is asked with its functions, classes and objects."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nothing, descriptor)
    code = json.loads(requests.readline(LONGEST_LINE))
    limit(limits)
    names: dict[str, Any] = {"__name__": "solution"}
    objects: list[Any] = []
    handles: dict[int, int] = {}

    def handle(value: Any) -> int:
        if isinstance(value, ModuleType):
            raise Unsupported("a module is not handed over")
        if id(value) not in handles:
            handles[id(value)] = len(objects)
            objects.append(value)
        return handles[id(value)]

    def run() -> None:
        exec(compile(code, "solution.py", "exec"), names)

    def named(name: str) -> Any:
        if not callable(names.get(name)):
            raise NameError(f"the code has no function or class {name}")
        return names[name]

    def reply(do: Callable[..., Any], given: Any) -> None:
        try:
            arguments, options = unpacked(given, objects.__getitem__)
            said = {"value": packed(do(*arguments, **options), handle)}
            after = packed([arguments, options], handle)
            if after != given:
                said["changed"] = after
        except BaseException as error:
            said = {"error": type(error).__name__, "message": str(error)[:1000]}
        replies.write(json.dumps(said).encode() + b"\n")
        replies.flush()

    reply(run, packed([[], {}]))
    for line in requests:
        asked = json.loads(line)
        reply(named if asked["do"] == "named" else OPERATIONS[asked["do"]], asked["given"])


class Remote:
    """An object of the code, as the tests see it. It equals itself alone, whatever the code says."""

    __slots__ = ("_ask", "_number")

    def __init__(self, ask: Callable[..., Any], number: int) -> None:
        object.__setattr__(self, "_ask", ask)
        object.__setattr__(self, "_number", number)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._ask("attribute", self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._ask("set_attribute", self, name, value)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._ask("call", self, *arguments, **named)

    def __getitem__(self, key: Any) -> Any:
        return self._ask("item", self, key)

    def __setitem__(self, key: Any, value: Any) -> None:
        self._ask("set_item", self, key, value)

    def __len__(self) -> Any:
        return self._ask("length", self)

    def __iter__(self) -> Any:
        return self._ask("iterator", self)

    def __next__(self) -> Any:
        return self._ask("next", self)

    def __str__(self) -> Any:
        return self._ask("text", self)

    def __bool__(self) -> Any:
        return self._ask("truth", self)


def take_over(mine: Any, theirs: Any) -> None:
    """Change a list, a dictionary or a set of the tests into what the code has made of it."""
    if isinstance(mine, (list, bytearray)):
        mine[:] = theirs
    elif isinstance(mine, (MutableMapping, set)):
        mine.clear()
        mine.update(theirs)


def test(limits: Mapping[str, int], to_code: int, from_code: int, verdicts: int) -> None:
    """Run the tests of the job at the standard input, and write `r`, then `1` or `0` per test to `verdicts`.

    After them comes one line of JSON per call of the job: `value`, the `canonical` text of what it gives, or `error`,
    the name of what it raises; null if it gives nothing that can be told.
    """
    job = json.loads(sys.stdin.buffer.read())
    limit(limits)
    requests, replies, results = os.fdopen(to_code, "wb"), os.fdopen(from_code, "rb"), os.fdopen(verdicts, "wb")

    remotes: dict[int, Remote] = {}

    def number(value: Any) -> int:
        return int(object.__getattribute__(value, "_number") if type(value) is Remote else no_object(value))

    def remote(handle: Any) -> Remote:
        return remotes.setdefault(int(handle), Remote(ask, int(handle)))

    def said(request: Any) -> Any:
        line = json.dumps(request).encode()
        if len(line) > LONGEST_LINE:
            raise Unsupported("the arguments are too long")
        try:
            requests.write(line + b"\n")
            requests.flush()
        except BrokenPipeError:
            raise Unsupported("the code has ended") from None
        reply = replies.readline(LONGEST_LINE)
        if not reply.endswith(b"\n"):
            raise Unsupported("there is no reply")
        found = json.loads(reply)
        if "error" in found:
            kind: Any = getattr(builtins, str(found["error"]), None)
            own = isinstance(kind, type) and issubclass(kind, Exception)
            raise (kind if own else RuntimeError)(str(found.get("message")))
        return found

    def ask(do: str, *arguments: Any, **named: Any) -> Any:
        found = said({"do": do, "given": packed([[*arguments], named], number)})
        if "changed" in found:
            places, options = unpacked(found["changed"], remote)
            for mine, theirs in zip([*arguments, *named.values()], [*places, *options.values()], strict=True):
                take_over(mine, theirs)
        return unpacked(found["value"], remote)

    def known(tree: ast.AST) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in unknown(tree):
            with suppress(NameError):
                found[name] = ask("named", name)
        return found

    def passes(source: str) -> bool:
        try:
            tree = ast.parse(source)
            names = {"__name__": "tests"} | known(tree)
            exec(compile(tree, "tests.py", "exec"), names)
        except BaseException:
            return False
        return True

    def output(source: str) -> Any:
        try:
            tree = ast.parse(source.strip(), mode="eval")
            names = {"__name__": "inputs"} | known(tree)
            return {"value": canonical(eval(compile(tree, "inputs.py", "eval"), names))}
        except Unsupported:
            return None
        except BaseException as error:
            return {"error": type(error).__name__}

    results.write(b"r")
    results.flush()
    try:
        said(job["code"])
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
    """The names that a test reads and neither sets nor has from Python: the functions and classes of the code."""
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
