# ruff: noqa: RUF001 - numbers in the scripts that people write
"""The built-in verifiers: final numbers, mathematical equality, instructions that a program can check."""

from __future__ import annotations

import json
import logging
import random
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eva_data.errors import DataError, MissingExtraError
from eva_data.rewards.answers import final_number, math_equal
from eva_data.rewards.instructions import follows


@pytest.mark.parametrize(
    ("response", "number"),
    [
        # Announced, the last announcement counting.
        ("48/2 = <<48/2=24>>24 in May.\n#### 72", "72"),
        ("#### 72\n\nThat took 3 steps.", "72"),
        ("#### **$1,000**", "1000"),
        ("#### 70 + 2 = 72", "72"),
        ("So it is \\boxed{72}, and not 71.", "72"),
        ("\\boxed{70} is wrong: \\boxed{72 \\text{ clips}} out of 90", "72"),
        ("\\boxed{x = \\frac{1}{2}} or 3", "1/2"),
        ("\\boxed{5 = x}, checked 3 times", "5"),
        ("\\boxed{\\text{no number}} The answer is 5, as 2 + 3 is.", "5"),
        ("The answer is 72. That is 3 more than 69.", "72"),
        ("The final answer is:\n\n$$72$$\n\nIt took 3 steps.", "72"),
        ("**Answer:** 70 + 2 = 72 clips\n(2 lines)", "72"),
        ("ANSWER = -4 (not 4)", "-4"),
        ("The answer is 3. Wait. The answer is 4! I took 5 steps.", "4"),
        # Headings are no announcements.
        ("#### Step 1\nAdd 4 to 5.\n#### Step 2\nThis gives 9.", "9"),
        ("#### 2. Add\nThis gives 9.", "9"),
        # Else the last number.
        ("5 and then 6.", "6"),
        ("Of 10-7 the 7", "7"),
        ("- 5 apples", "5"),
        ("It is 3.50.", "7/2"),
        ("1,2,3", "3"),
        # Forms of numbers.
        ("$18.00", "18"),
        ("-$18", "-18"),
        ("$-18", "-18"),
        ("\u221218", "-18"),
        ("€ 1,234,567.5", "2469135/2"),
        ("Rs.500", "500"),
        ("1{,}000", "1000"),
        ("1\\,000 m", "1000"),
        ("1\u202f000", "1000"),
        ("12345", "12,345"),
        ("72km", "72"),
        ("50%", "50"),
        ("\\boxed{50\\%}", "50 percent"),
        (".5", "0.50"),
        ("3/4 of it", "0.75"),
        ("3 1/2 hours", "3.5"),
        ("-\\frac{1}{2}", "-0.5"),
        ("3\\dfrac{1}{2}", "7/2"),
        ("2e3", "2000"),
        ("1.5E-1", "0.15"),
        ("007", "7"),
        ("H2O and 5 g of CO2", "5"),
        ("<think>\\boxed{3}</think>It is 4.", "4"),
        ("<thinking>\\boxed{3}</thinking>It is 4.", "4"),
    ],
)
def test_the_final_number_is_read(response: str, number: str) -> None:
    assert final_number("", response, number) == 1.0


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("", "72"),
        ("seventy-two", "72"),
        ("72", "73"),
        ("72.001", "72"),
        ("-72", "72"),
        ("72,5", "72"),
        ("0.33", "1/3"),
        ("#### 71\n", "72"),
        ("72 \\boxed{71}", "72"),
        ("5/0", "5"),
        ("<think>72", "72"),
        ("1e999999999", "1"),
        ("9" * 100_000, "9"),
        ("nan", "72"),
        ("x72", "72"),
        ("\ud800", "72"),
    ],
)
def test_another_final_number_is_wrong(response: str, number: str) -> None:
    assert final_number("", response, number) == 0.0


@pytest.mark.parametrize(
    "response",
    [
        "The answer is 42. It took 3 steps.",
        "答案是42。一共用了3步。",
        "Die Antwort ist 42. Das waren 3 Schritte.",
        "La réponse est 42. Il y avait 3 étapes.",
        "<answer>42</answer> It took 3 steps.",
        "\\boxed{4.2 \\times 10^1}",
        "La respuesta es 42. Fueron 3 pasos.",
        "A resposta é 42. Foram 3.",
        "La risposta è 42. 3 passi.",
        "Ответ: 42. За 3 шага.",
        "答えは42です。3ステップでした。",
        "정답은 42입니다. 3단계.",
        "الجواب هو 42. في 3 خطوات",
        "उत्तर: 42। 3",
        "Het antwoord is 42. In 3 stappen.",
        "Svaret är 42. 3 steg.",
        "Odpowiedź to 42. 3 kroki.",
        "Cevap: 42. 3 adım",
        "Đáp án là 42. 3 bước",
        "Jawabannya adalah 42. 3 langkah.",
        "คำตอบคือ 42 ใช้ 3",
        "The answer is not 43 but 42.",
        "It is 42, not 43.",
        "42 is the answer. That took 3 steps.",
        "The answer to the question is 42. 3 steps",
        "<final_answer> x = 42 </final_answer> 3",
        "\\boxed{\\text{42 apples}} 3",
        "4.2 × 10¹",
        "4.2e1",
        "4.2 x 10^1",
        "4.2 * 10**1",
        "4.2·10^{1}",
        "\\boxed{42}",
        "Antwort: **42 Euro**. Das sind 3.",
        "**Final Answer**: 42 km in 3 hours",
        "答案：４２",
        "٤٢",
        "The answer is 42 or so",
        "420 \\times 10^{-1}",
        "The final result is 42. It took 3 steps.",
        "The answer is $42$ dollars, rather than 43.",
        "42 °C",
        "42 kg",
        "42 m^2",
        "42^\\circ",
        "<answer>\n42\n</answer>\n3",
        '{"answer": 42, "steps": 3}',
        "The answer is: \\(42\\). 3",
        "答案：42个。3",
        "所以答案为 42 元，共 3 步",
        "the answer is (42). 3",
        "Die Antwort lautet: 42. 3",
        "La réponse finale est 42 pommes. 3",
        "Respuesta: 42. 3",
        "42,0",
        "42.",
        "Answer: 42,not 43",
    ],
)
def test_forty_two_is_read_in_every_language_and_form(response: str) -> None:
    assert final_number("", response, "42") == 1.0


@pytest.mark.parametrize(
    "response",
    [
        "\\boxed{42 \\times 10^3}",
        "The answer is 42 million.",
        "The answer is not 42.",
        "It is not 42.",
        "The answer isn't 42",
        "42ではない",
        "不是42",
        "Die Antwort ist nicht 42.",
        "La réponse n'est pas 42",
        "La respuesta no es 42",
        "42 thousand",
        "42k",
        "4.2 × 10^2",
        "42万",
        "42 x 10^3",
        "The answer is 42^2",
        "42 millones",
        "42 Millionen",
        "42,000",
        "42 lakh",
        "42%.5",
        "42.5",
        "42,5",
        "The answer is 42 billion",
        "\\boxed{42\\text{ million}}",
        "42 000",
        "42'000",
        "42.000.000",
    ],
)
def test_what_is_denied_or_of_another_size_is_not_forty_two(response: str) -> None:
    assert final_number("", response, "42") == 0.0


@pytest.mark.parametrize(
    "response",
    [
        "1,000",
        "1 000",
        "1'000",
        "1’000",
        "Die Antwort ist 1.000. 3",
        "1.000,00 Euro sind 1.000",
        "10^3",
        "1{,}000",
        "1\\,000",
        "1\xa0000",
        "1 thousand",
        "1k",
        "$1,000.00",
        "1e3",
        "一共1千",
        "La réponse est 1 000 euros. 3 pas",
        "Der Preis ist 1.000,00 €.",
        "La respuesta es 1.000. 3",
        "\\$1{,}000",
        "1 \\times 10^{3}",
        "0.5 × 2 = 1,000",
        "१,०००",
        "1000.000",
    ],
)
def test_a_thousand_is_read_with_every_mark_between_its_digits(response: str) -> None:
    assert final_number("", response, "1000") == 1.0


@pytest.mark.parametrize(
    ("response", "number"),
    [
        ("1.000.000", "1000000"),
        ("1,00,000", "100000"),
        ("1 000 000", "1000000"),
        ("3,5", "3.5"),
        ("Die Antwort ist 3,125.", "3.125"),
        ("1.234,56", "1234.56"),
        ("3½ hours", "3.5"),
        ("½", "0.5"),
        ("2.5 million", "2500000"),
        ("3 lakh", "300000"),
        ("1.2亿", "120000000"),
        ("$1.5 billion", "1500000000"),
        ("2^10", "1024"),
        ("10^{-3}", "0.001"),
        ("-5 \\times 10^{-2}", "-0.05"),
        ("1.500 m", "1.5"),
        ("(3,5)", "3.5"),
        ("1,2,3", "3"),
        ("5 200-gram bags", "200"),
        ("1 1/2", "1.5"),
        ("42 Mio. Euro", "42000000"),
        ("- 5", "5"),
        ("3 000 000,5", "3000000.5"),
        ("[^3^] 5 [^4^]", "5"),
        ("42m", "42"),
        ("42 b", "42"),
    ],
)
def test_other_numbers_are_read_as_they_are_written(response: str, number: str) -> None:
    assert final_number("", response, number) == 1.0


@pytest.mark.parametrize("answer", ["", "none", "1/0", "nan"])
def test_only_a_reference_without_a_number_leaves_no_verdict(answer: str) -> None:
    assert final_number("", "5", answer) is None


def test_the_reference_may_be_a_number_or_a_whole_solution() -> None:
    assert final_number("", "It is 72.", 72) == 1.0
    assert final_number("", "It is 72.", 72.0) == 1.0
    assert final_number("", "It is 72.", "48 and 24 are 72\n#### 72") == 1.0


@given(st.text(max_size=60), st.text(max_size=60))
def test_no_text_makes_final_number_raise(response: str, answer: str) -> None:
    assert final_number("", response, answer) in (0.0, 1.0, None)


@given(st.text(alphabet="0123456789.,-+/=$%{}\\boxed#answer is\n ", max_size=80))
def test_no_text_like_a_number_makes_final_number_raise(response: str) -> None:
    assert final_number("", response, "1") in (0.0, 1.0)


@given(st.integers(-(10**12), 10**12), st.integers(-(10**12), 10**12))
def test_a_number_equals_itself_in_every_form_and_no_other(number: int, other: int) -> None:
    forms = [
        f"{number}",
        f"{number:,}",
        f"${number:,}.00",
        f"\\boxed{{{number}}}",
        f"#### {number:,}",
        f"{number * 3}/3",
    ]
    assert {final_number("", form, str(number)) for form in forms} == {1.0}
    assert {final_number("", form, str(other)) for form in forms} == {float(number == other)}


@pytest.mark.slow
@pytest.mark.parametrize("text", ["1,", "####", "\\boxed{", "answer is ", "1 ", "1/", "- ", "{", "\\frac{1}{", "1,000"])
def test_a_hundred_thousand_characters_are_read(text: str) -> None:
    assert final_number("", text * (100_000 // len(text)) + " so 7", "7") == 1.0


@pytest.mark.slow
def test_on_gsm8k_every_own_answer_is_right_and_of_other_problems_answers_only_equal_numbers(shared_data: Path) -> None:
    problems = pl.read_parquet(shared_data / "gsm8k_train.parquet", columns=["answer", "final_answer"])
    own = [final_number("", answer, final) for answer, final in problems.iter_rows()]
    assert own == [1.0] * 7473
    answers, finals = problems["answer"].to_list(), problems["final_answer"].to_list()
    of_others = answers[1:] + answers[:1]
    right = sum(final_number("", answer, final) == 1.0 for answer, final in zip(of_others, finals, strict=True))
    equal = sum(answer.endswith(f"\n#### {final}") for answer, final in zip(of_others, finals, strict=True))
    assert right == equal
    assert right / 7473 < 0.02


@pytest.mark.parametrize(
    ("response", "answer", "reward"),
    [
        ("So it is \\boxed{\\frac{1}{2}}.", "0.5", 1.0),
        ("So it is $x^2 + 2x + 1$.", "(x+1)^2", 1.0),
        ("\\boxed{(1, 2)}", "(1,2)", 1.0),
        ("\\boxed{2, 1}", "\\{1, 2\\}", 1.0),
        ("The answer is 1/2.", "$\\frac12$", 1.0),
        ("<think>\\boxed{4}</think>\\boxed{5}", "\\boxed{5}", 1.0),
        ("It is 72.", "so we have 72\n#### 72", 1.0),
        ("It is 72.", 72, 1.0),
        ("\\boxed{9^{9^{9^9}}}", "9^{9^{9^9}}", 1.0),
        ("\\boxed{(x-1)^2}", "(x+1)^2", 0.0),
        ("\\boxed{\\frac{1}{0}}", "5", 0.0),
        ("\\boxed{x \\ne 2}", "2x < 5", 0.0),
        ("no idea", "5", 0.0),
        ("", "5", 0.0),
        ("<think>5", "5", 0.0),
        ("\\boxed{" * 2000, "5", 0.0),
        ("x" * 100_000, "5", 0.0),
        ("5", "", None),
    ],
)
def test_expressions_are_equal_by_their_value(response: str, answer: object, reward: float | None) -> None:
    pytest.importorskip("math_verify")
    # The first call loads the grammar, which counts for the time limit on a busy machine.
    math_equal("", "$x^2$", "x^2")
    assert math_equal("", response, answer) == reward


def in_a_child(code: str) -> str:
    """The output of a fresh interpreter, because hypothesis has callbacks in the garbage collector of this one."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_what_takes_too_long_to_read_or_compare_has_no_verdict() -> None:
    pytest.importorskip("math_verify")
    code = r"""
        from eva_data.rewards.answers import math_equal
        hostile = [r"\boxed{9^{9^{9^9}}}", r"\boxed{\binom{10000000}{5000000}}"]
        print([math_equal("", text, "5") for text in [*hostile, "5"]])
    """
    assert in_a_child(code) == "[None, None, 1.0]\n"


@pytest.mark.slow
def test_an_alarm_that_the_garbage_collector_swallows_rings_again() -> None:
    pytest.importorskip("math_verify")
    code = r"""
        import gc, time
        from eva_data.rewards.answers import SECONDS, math_equal
        math_equal("", "5", "5")
        calls = []
        def sleep_once(phase, info):
            calls.append(phase)
            if len(calls) == 1:
                time.sleep(SECONDS + 0.1)
        gc.callbacks.append(sleep_once)
        gc.set_threshold(100)
        print(math_equal("", r"\boxed{9^{9^{9^9}}}", "5"), len(calls) > 0)
    """
    assert in_a_child(code) == "None True\n"


def test_math_equal_says_that_it_needs_the_main_thread() -> None:
    pytest.importorskip("math_verify")
    raised: list[BaseException] = []

    def ask() -> None:
        try:
            math_equal("", "5", "5")
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert [str(error) for error in raised] == [
        "math_equal limits its time by an alarm signal, which only a main thread gets"
    ]


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("math_verify.grader", "langdetect"):
        # What the interpreter itself keeps for a module that must not be imported.
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"`math-verify`.*eva-data\[math\]"):
        math_equal("", "5", "5")
    with pytest.raises(MissingExtraError, match=r"`if-verifiable`.*eva-data\[ifeval\]"):
        follows("", "5", instructions(("punctuation:no_comma", {})))


def instructions(*wanted: tuple[str, dict[str, Any] | None]) -> str:
    return json.dumps({"instruction_id_list": [name for name, _ in wanted], "kwargs": [given for _, given in wanted]})


NO_COMMA = ("punctuation:no_comma", None)
THREE_WORDS = ("length_constraints:number_words", {"relation": "at least", "num_words": 3, "keywords": None})
IN_ENGLISH = ("language:response_language", {"language": "en"})


@pytest.mark.parametrize(
    ("response", "answer", "reward"),
    [
        ("One two three.", instructions(NO_COMMA, THREE_WORDS), 1.0),
        ("One, two three.", instructions(NO_COMMA, THREE_WORDS), 0.5),
        ("One, two.", instructions(NO_COMMA, THREE_WORDS), 0.0),
        ("", instructions(NO_COMMA), 0.0),
        ("<think>Well, well.</think>Fine.", instructions(NO_COMMA), 1.0),
        ("The river flows quietly through the old town.", instructions(IN_ENGLISH), 1.0),
        ("Der Fluss strömt leise durch die alte Stadt.", instructions(IN_ENGLISH), 0.0),
        ("One two three.", instructions(), None),
        # How many words, and which letter: the benchmark's code would draw them.
        ("One two three.", instructions(("length_constraints:number_words", {})), None),
        (
            "#!",
            instructions(
                ("keywords:letter_frequency", {"letter": "#", "let_relation": "at least", "let_frequency": 1})
            ),
            None,
        ),
    ],
)
def test_the_share_of_followed_instructions_is_the_reward(response: str, answer: str, reward: float | None) -> None:
    pytest.importorskip("if_verifiable")
    assert follows("Write something.", response, answer) == reward


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("72", "the reference answer `72` says no instructions"),
        ("{", "the reference answer `{` says no instructions"),
        ('{"instruction_id_list": ["punctuation:no_comma"], "kwargs": []}', "says no instructions"),
        (instructions(("punctuation:none", {})), "IFEval has no instruction `punctuation:none`"),
    ],
)
def test_a_reference_that_is_no_instruction_is_refused(answer: str, message: str) -> None:
    pytest.importorskip("if_verifiable")
    with pytest.raises(DataError, match=message):
        follows("", "5", answer)


def test_an_instruction_about_sentences_says_what_must_be_downloaded() -> None:
    pytest.importorskip("if_verifiable")
    nltk = pytest.importorskip("nltk")
    answer = instructions(("length_constraints:number_sentences", {"relation": "at least", "num_sentences": 2}))
    try:
        nltk.data.find("tokenizers/punkt_tab")
    except LookupError:
        with pytest.raises(DataError, match=r"python -m nltk\.downloader punkt_tab"):
            follows("", "One. Two.", answer)
    else:
        assert follows("", "One. Two.", answer) == 1.0


def test_checking_instructions_leaves_random_numbers_and_logging_as_they_were(caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("if_verifiable")
    state = random.getstate()
    follows("", "||| --- |||", instructions(IN_ENGLISH))
    follows("", "One.", instructions(("length_constraints:number_words", {})))
    assert random.getstate() == state
    assert logging.root.manager.disable == logging.NOTSET
    assert caplog.messages == []


@pytest.mark.slow
def test_on_ifeval_every_verdict_is_a_share_and_comes_out_the_same_again(shared_data: Path) -> None:
    pytest.importorskip("if_verifiable")
    prompts = pl.read_parquet(shared_data / "prompts_ifeval.parquet")
    columns = ["instruction_id_list", "kwargs_json", "prompt"]
    unverifiable = needs_sentences = 0
    for names, given_as, prompt in prompts.select(columns).iter_rows():
        answer = json.dumps({"instruction_id_list": names, "kwargs": json.loads(given_as)})
        try:
            reward = follows(prompt, f"{prompt}\n\nDer Fluss strömt leise.", answer)
        except DataError:
            needs_sentences += 1
            continue
        assert reward == follows(prompt, f"{prompt}\n\nDer Fluss strömt leise.", answer)
        if reward is None:
            unverifiable += 1
        else:
            assert reward * len(names) == pytest.approx(round(reward * len(names)))
    assert unverifiable == 2
    assert needs_sentences in (0, 64)
