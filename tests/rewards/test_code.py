"""Code that a model wrote: tests of its functions, attempts to forge a pass, and attempts to get out of the sandbox."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import polars as pl
import psutil
import pytest
from pydantic import ValidationError

from eva_data.config import Answers, Code
from eva_data.errors import ConfigError
from eva_data.jobs.job import Job
from eva_data.ledger import Score
from eva_data.rewards.backends.code import code_of, listed_tests, score_rows, scorer_of
from eva_data.rewards.isolated.inside import packed, unpacked
from eva_data.rewards.isolated.runner import passed, refuse_without_isolation

isolated = pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap isolates the code, and is not here")


def block(path: Path = Path("tests.jsonl"), **settings: object) -> Code:
    answers = Answers(path=path, answer="test_list")
    return Code.model_validate({"backend": "code", "allow": True, "answers": answers, "seconds": 2, **settings})


@isolated
def test_functions_are_called_with_plain_values_and_tests_pass_or_fail_by_themselves() -> None:
    code = (
        "def add(a, b=1):\n    return a + b\ndef both(x):\n    return (x, {x: [x]})\n"
        "def bad():\n    raise ValueError('no')"
    )
    tests = [
        "assert add(1) == 2",
        "assert add(1, b=4) == 6",
        "assert both('a') == ('a', {'a': ['a']})",
        "assert add([1], [2.5]) == [1, 2.5]",
        "assert missing(1) == 1",
        "try:\n    bad()\nexcept ValueError as error:\n    assert str(error) == 'no'\nelse:\n    assert False",
        "import math\ndef check(candidate):\n    assert math.isclose(candidate(0.1, 0.2), 0.3)\ncheck(add)",
        "this is no Python",
    ]
    assert passed(block(), code, tests) == [True, False, True, True, False, True, True, False]


@isolated
def test_classes_of_the_code_are_used_through_handles() -> None:
    code = (
        "class Solution:\n    def twoSum(self, numbers, target):\n        return [0, 1]\n"
        "class Stack:\n    def __init__(self, *items):\n        self.items = list(items)\n"
        "    def push(self, item):\n        self.items.append(item)\n        return self\n"
        "    def __len__(self):\n        return len(self.items)\n"
        "    def __str__(self):\n        return f'Stack{self.items}'\n"
        "    def __getitem__(self, place):\n        return self.items[place]\n"
        "class Node:\n    def __init__(self, value, next=None):\n        self.value, self.next = value, next\n"
        "def reverse(node):\n    before = None\n    while node:\n"
        "        node.next, before, node = before, node, node.next\n    return before\n"
        "def squares():\n    n = 0\n    while True:\n        yield n * n\n        n += 1\n"
        "def counter():\n    held = []\n    def count():\n        held.append(1)\n        return len(held)\n"
        "    return count\n"
        "import math\nLIMIT = 7\n"
    )
    tests = [
        "assert Solution().twoSum([2, 7], 9) == [0, 1]",
        "s = Stack(1)\nassert s.push(2) is s and s.push(3).items == [1, 2, 3]",
        "s = Stack()\nassert not s\ns.items = [4, 5]\nassert len(s) == 2 and s[-1] == 5 and str(s) == 'Stack[4, 5]'",
        "assert list(Stack(1, 2)) == [1, 2]",
        "head = reverse(Node(1, Node(2)))\nassert (head.value, head.next.value, head.next.next) == (2, 1, None)",
        "found = squares()\nassert [next(found) for _ in range(4)] == [0, 1, 4, 9]",
        "count = counter()\nassert (count(), count()) == (1, 2)",
        "assert Stack(1).pop() == 1",
        "assert Stack(1) == Stack(1)",
        "assert LIMIT == 7",
        "assert math.sqrt(4) == 2",
    ]
    assert passed(block(), code, tests) == [True] * 7 + [False] * 4


@isolated
def test_arguments_that_a_function_changes_are_changed_for_the_test() -> None:
    code = (
        "def order(items):\n    items.sort()\n"
        "def turn(matrix):\n    matrix[:] = [list(row) for row in zip(*matrix[::-1])]\n"
        "def add(counts, seen, *, key):\n    counts[key] = counts.get(key, 0) + 1\n    seen.add(key)\n"
        "def rename(t):\n    t = (1,)\n"
    )
    tests = [
        "x = [3, 1, 2]\nassert order(x) is None and x == [1, 2, 3]",
        "m = [[1, 2], [3, 4]]\nturn(m)\nassert m == [[3, 1], [4, 2]]",
        "c, s = {'a': 1}, set()\nadd(c, s, key='a')\nadd(c, s, key='b')\n"
        "assert c == {'a': 2, 'b': 1} and s == {'a', 'b'}",
        "t = (3,)\nrename(t)\nassert t == (3,)",
    ]
    assert passed(block(), code, tests) == [True] * 4


@isolated
def test_an_object_that_lies_about_itself_is_not_believed() -> None:
    yes = ("eq", "ne", "lt", "gt", "le", "ge", "contains", "instancecheck", "sub", "abs", "hash")
    code = (
        "class Meta(type):\n    def __instancecheck__(self, other):\n        return True\n"
        "class Yes(metaclass=Meta):\n"
        + "".join(f"    def __{name}__(self, *others):\n        return True\n" for name in yes)
        + "def f(x):\n    return Yes()\n"
    )
    tests = [
        *("assert f(1) == 3", "assert 3 in f(1)", "assert f(1) > 3", "assert abs(f(1) - 2.5) < 1e-6"),
        *("assert isinstance(f(1), int)", "assert f(1) in [1, 2]", "assert f(1) is True", "assert {f(1): 2}[3]"),
    ]
    assert passed(block(), code, tests) == [False] * 8


FORGED = {
    "exit": "import os\ndef f(x):\n    os._exit(0)",
    "exit_at_once": "import os\nos._exit(0)",
    "print": "import os\nfor fd in range(20):\n    try:\n        os.write(fd, b'1' * 9)\n"
    "    except OSError:\n        pass\n"
    'def f(x):\n    print("1" * 99)\n    return 7',
    "equal": "class Same(int):\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return Same(7)",
    "object": "class Same:\n    def __eq__(self, other):\n        return True\ndef f(x):\n    return Same()",
    "builtins": "import builtins\nbuiltins.AssertionError = None\nbuiltins.bool = lambda x: True\n"
    "def f(x):\n    return 7",
    "frames": "import gc, sys\nfor each in gc.get_objects():\n    if isinstance(each, dict) and 'tests' in each:\n"
    "        each['tests'] = []\ndef f(x):\n    return 7",
    "replies": "import os\nfor fd in range(3, 20):\n    try:\n        os.write(fd, b'{\"value\": true}\\n' * 9)\n"
    "    except OSError:\n        pass\ndef f(x):\n    return 7",
    "syntax": "def f(x) return 3",
    "raise": "raise SystemExit(0)",
}


@isolated
@pytest.mark.parametrize("code", FORGED.values(), ids=FORGED)
def test_a_pass_cannot_be_forged(code: str) -> None:
    assert passed(block(), code, ["assert f(1) == 3", "assert f(1) == 4"]) == [False, False]


def seen(probe: str) -> str:
    """What a probe says, told by which of many tests passes."""
    code = f"import os, socket, subprocess, sys\ndef f():\n{probe}"
    return "ran" if passed(block(), code, ["assert f() is True"]) == [True] else "failed"


ESCAPES = {
    "network": "    s = socket.socket()\n    s.settimeout(1)\n    s.connect(('1.1.1.1', 53))\n    return True",
    "loopback": "    s = socket.socket()\n    s.settimeout(1)\n    s.connect(('127.0.0.1', PORT))\n    return True",
    "other_processes": "    return any(name.isdigit() and int(name) > 9 for name in os.listdir('/proc'))",
    "parents_memory": "    os.kill(PID, 0)\n    return True",
    "keys": "    return any('SECRET' in str(item) for item in os.environ.items())",
    "keys_in_proc": "    pids = [name for name in os.listdir('/proc') if name.isdigit()]\n"
    "    return any('SECRET' in open(f'/proc/{pid}/environ').read() for pid in pids)",
    "home": "    return os.path.exists('/root') or os.path.exists('/home') or os.path.exists('/etc/passwd')",
    "symlink": "    os.symlink('FOLDER', '/tmp/out')\n    return bool(os.listdir('/tmp/out'))",
    "proc_root": "    return os.path.exists('/proc/1/root/etc/passwd') or os.path.exists('FOLDER')",
    "write": "    open('/usr/bin/probe', 'w').close()\n    return True",
    "write_root": "    os.mkdir('/probe')\n    return True",
    "shared_memory": "    open('/dev/shm/probe', 'w').close()\n    return True",
    "disk": "    for n in range(100):\n        open(f'/tmp/{n}', 'wb').write(bytes(1 << 20))\n    return True",
    "one_file": "    open('/tmp/x', 'wb').write(bytes(8 << 20))\n    return True",
    "memory": "    return len(bytearray(1 << 30)) > 0",
    "limits": "    import resource\n    resource.setrlimit(resource.RLIMIT_AS, (1 << 40, 1 << 40))\n    return True",
    "mount": "    import ctypes\n    return ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "terminal": "    import fcntl, termios\n    fcntl.ioctl(0, termios.TIOCSTI, b'x')\n    return True",
    "processes": "    kept = [subprocess.Popen(['/usr/bin/sleep', '9']) for _ in range(20)]\n    return True",
}


@isolated
@pytest.mark.parametrize("probe", ESCAPES.values(), ids=ESCAPES)
def test_the_sandbox_has_no_way_out(probe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    monkeypatch.setenv("SECRET_KEY", "SECRET")
    (tmp_path / "file").write_text("here")
    tmp_path.chmod(0o755)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        named = {"PORT": str(listening.getsockname()[1]), "PID": str(os.getpid()), "FOLDER": str(tmp_path)}
        for name, value in named.items():
            probe = probe.replace(name, value)
        assert seen(probe) == "failed"


@isolated
def test_the_same_probe_sees_what_it_may() -> None:
    # Without this, a probe that always fails would look like a wall.
    assert seen("    open('/tmp/x', 'w').write('x')\n    return os.listdir('/tmp') == ['x']") == "ran"
    assert seen("    return subprocess.run(['/usr/bin/true']).returncode == 0") == "ran"


BOMBS = {
    "endless": "def f():\n    while True:\n        pass",
    "sleeps": "import time\ndef f():\n    time.sleep(600)",
    "forks": "import os\ndef f():\n    while True:\n        try:\n            os.fork()\n"
    "        except OSError:\n            pass",
    "orphans": "import os, time\ndef f():\n    if os.fork() == 0:\n        os.setsid()\n    time.sleep(600)",
    "output": "import sys\ndef f():\n    while True:\n        sys.stdout.write('x' * 1000000)\n"
    "        sys.stderr.write('x' * 1000000)",
    "long_reply": "def f():\n    return 'x' * (1 << 26)",
    "deep_reply": "def f():\n    x = []\n    for _ in range(10000):\n        x = [x]\n    return x",
}


@isolated
@pytest.mark.parametrize("code", BOMBS.values(), ids=BOMBS)
def test_what_never_ends_is_ended_with_all_its_processes(code: str) -> None:
    began, before = time.monotonic(), set(psutil.pids())
    assert passed(block(seconds=0.5), code, ["assert f() == 1", "assert True"])[0] is False
    assert time.monotonic() - began < 15
    assert _gone(before)


def _gone(before: set[int]) -> bool:
    """Whether no sandbox of this process is left; the kernel ends a killed one in its own time.

    Other tests run theirs at the same time. One whose parent has died belongs to the first process.
    """
    for _ in range(50):
        own = {each.pid for each in psutil.Process().children(recursive=True)}
        left = [
            each
            for each in psutil.process_iter(["name", "status", "pid", "ppid"])
            if each.info["pid"] not in before and (each.info["pid"] in own or each.info["ppid"] == 1)
        ]
        running = [each for each in left if each.info["status"] != psutil.STATUS_ZOMBIE]
        if not any((each.info["name"] or "").startswith("bwrap") for each in running):
            return True
        time.sleep(0.1)
    return False


def test_values_come_back_as_they_went_or_not_at_all() -> None:
    values = [None, True, 3, 10**30, -1.5, float("inf"), 1j, "x", b"x", [1, (2,)], {"a": {1}}, frozenset([1])]
    assert [unpacked(packed(value)) for value in values] == values
    for value in (object(), len, [object()], float):
        with pytest.raises(Exception, match="no plain value"):
            packed(value)


def test_the_code_of_a_response_is_its_last_block_of_python() -> None:
    assert code_of("x = 1") == "x = 1"
    assert code_of("First\n```python\na\n```\nthen\n```\nb\n```\nrun it\n```bash\nls\n```") == "b\n"
    assert code_of("<think>```python\na\n```</think>") == ""


@pytest.mark.parametrize(
    "text",
    [
        "```python\ndef f(x):\n    return x\n```\nOutput:\n```\n2\n```",
        "```python\ndef f(x):\n    return x\n```\nSo:\n```python\nprint(f(3))\n```\nRun:\n```bash\npython f.py\n```",
        "```\ndef g(x): pass\n```\nBetter:\n```\ndef f(x):\n    return x\n```",
        "def f(x):\n    return x\n```",
        "Here:\n```python\ndef f(x):\n    return x\n",
        "Here:\n```\ndef f(x):\n    return x",
    ],
)
def test_what_stands_behind_a_function_does_not_hide_it(text: str) -> None:
    assert code_of(text).strip() == "def f(x):\n    return x"


def test_tests_are_a_list_or_a_text_that_writes_one() -> None:
    assert listed_tests(["assert 1", "assert 2"]) == ["assert 1", "assert 2"]
    assert listed_tests('["assert 1"]') == listed_tests("['assert 1']") == ["assert 1"]
    assert listed_tests("def check(f):\n    assert f") == ["def check(f):\n    assert f"]
    assert listed_tests(None) == []


@isolated
def test_rewards_are_shares_of_tests_and_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "tests.jsonl"
    pl.DataFrame({"prompt": ["Double it."], "test_list": [["assert f(1) == 2", "assert f(2) == 4"]]}).write_ndjson(path)
    rows = [
        {"prompt": [{"role": "user", "content": "Double it."}], "responses": ["def f(x): return 2 * x", "f = abs", ""]},
        {"prompt": [{"role": "user", "content": "Unknown."}], "responses": ["def f(x): return 2 * x"]},
        {"prompt": [{"role": "user", "content": "Double it."}], "responses": ["```\ndef f(x): return 2\n```"]},
    ]
    for score, half in (("share", 0.5), ("all", 0.0)):
        settings = block(path, score=score)
        scorer = scorer_of(settings)
        job = Job(tmp_path / "job", "reward", settings, ledger=tmp_path / "ledger", scorer=scorer.fingerprint)
        job.folder.mkdir(exist_ok=True)
        found = [*score_rows(job, rows)]
        assert found == [
            [Score(1.0, None), Score(0.0, None), Score(0.0, None)],
            [Score(None, "unverifiable")],
            [Score(half, None)],
        ]
        assert [*score_rows(job, rows)] == found


def test_nothing_runs_unless_asked_for_and_without_isolation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValidationError, match="allow"):
        Code.model_validate({"backend": "code", "answers": Answers(path=tmp_path)})
    with pytest.raises(ValidationError, match="set `allow: true`"):
        block(allow=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no `bwrap`"):
        refuse_without_isolation(block())
    (tmp_path / "bwrap").write_text("#!/bin/sh\necho 'No permissions to create a new namespace' >&2\nexit 1\n")
    (tmp_path / "bwrap").chmod(0o755)
    # Root starts a sandbox as `nobody`, who must reach it; pytest's folders are for their owner alone.
    for folder in (tmp_path, *tmp_path.parents):
        if folder.name.startswith("pytest-of-") or any(each.name.startswith("pytest-of-") for each in folder.parents):
            folder.chmod(0o755)
    with pytest.raises(ConfigError, match="did not start"):
        refuse_without_isolation(block())
    with pytest.raises(ConfigError, match="has to be a Python under /usr"):
        (tmp_path / "bwrap").write_text("")
        refuse_without_isolation(block(python="/bin/sh"))
