"""What is said of the stages of a run, by a clock that stands still until it is moved."""

from __future__ import annotations

from eva_data.calls import Used
from eva_data.report.underway import Left, Underway, ended_line, lines_of


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_rate_time_left_tokens_and_dollars_of_a_stage_and_of_all_stages() -> None:
    clock = Clock()
    run = Underway(clock)
    run.foresee([("respond", 1), ("reward", 1), ("train", 1), ("estimate", 2)])
    assert run.figures() == ["stage 1 of 4"]
    first = run.begin("respond", 1)
    clock.now += 10
    # The model was loaded in 10 s, and 40 answers were in the ledger.
    run.tell(40, 100, Used())
    assert first.figures(clock()) == {"rate": "4.0/s", "left": "15 s left"}
    clock.now += 5
    run.tell(70, 100, Used(3000, 0.6))
    # 30 answers in 5 s.
    assert first.figures(clock()) == {
        "rate": "4.7/s",
        "tokens": "200 tokens/s",
        "dollars": "$0.6000",
        "left": "5 s left",
    }
    assert run.left == Left(5.0, False) and run.share == 0.7 / 4
    clock.now += 5
    run.tell(100, 100, Used(6000, 1.2))
    second = run.begin("reward", 1)
    assert ended_line(first, clock()) == "iteration 1: respond: 100 in 20 s, 5.0/s, 300 tokens/s, $1.20"
    assert second.figures(clock()) == {}
    # `estimate` will take what `respond` took; nothing is known of `train`.
    assert run.left == Left(20.0, False) and run.share == 1 / 4
    assert run.figures() == ["stage 2 of 4", "$1.20", "20 s left or more"]
    run.begin("train", 1)
    clock.now += 30
    run.tell(1, 3)
    assert run.left == Left(60.0 + 20.0, True)
    assert run.figures() == ["stage 3 of 4", "$1.20", "80 s left"]
    run.begin("estimate", 2)
    clock.now += 5
    # Its model is loading, and `respond` took 20 s.
    assert run.left == Left(15.0, True)


def test_a_stage_that_was_not_foreseen_belongs_to_the_one_before_and_all_stages_never_go_back() -> None:
    clock = Clock()
    run = Underway(clock)
    run.foresee([("evolve", 2), ("respond", 2)])
    run.begin("evolve", 2)
    run.tell(10, 10)
    assert run.share == 0.5
    run.begin("evolve", 2)
    run.tell(1, 10)
    assert run.share == 0.5 and run.figures()[0] == "stage 1 of 2"
    run.begin("judge", 2)
    assert run.share == 0.5
    run.begin("respond", 2)
    run.tell(5, 10)
    assert run.share == 0.75 and run.figures()[0] == "stage 2 of 2"


def test_lines_come_at_the_beginning_and_at_the_end_and_every_15_seconds() -> None:
    clock, said = Clock(), list[str]()
    tell = lines_of(Underway(clock), "respond", 1, said.append)
    for done in range(1, 41):
        clock.now += 1
        tell(done, 40)
    assert said == [
        "iteration 1: respond",
        "iteration 1: respond: 15/40, 1.0/s, 25 s left",
        "iteration 1: respond: 30/40, 1.0/s, 10 s left",
        "iteration 1: respond: 40/40, 1.0/s",
    ]


def test_a_stage_says_what_it_waits_for_in_the_place_of_its_rate() -> None:
    clock, said = Clock(), list[str]()
    tell = lines_of(Underway(clock), "respond", 1, said.append)
    clock.now += 5
    tell(10, 40, Used(50))
    for seconds in range(6, 26):
        clock.now += 1
        tell(10, 40, Used(50, 0.0, f"no answer for {seconds} s (HTTP 503: busy)"))
    clock.now += 15
    tell(30, 40, Used(150))
    # 20 answers in the 35 s since the first count, so 17.5 s for the last 10.
    assert said == [
        "iteration 1: respond",
        "iteration 1: respond: 10/40, no answer for 15 s (HTTP 503: busy)",
        "iteration 1: respond: 30/40, 1.3 s each, 4 tokens/s, 18 s left",
    ]
