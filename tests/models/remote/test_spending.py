"""Money: the cost of a reply, its upper bound, and a budget that always holds."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from misbehaving import Misbehaving, Seen
from remote_asking import ask, remote

from eva_data.config import ApiModel, Prices
from eva_data.errors import BudgetError, ConfigError
from eva_data.ledger import Bill, Keeper, Ledger
from eva_data.models.player import Player, connection
from eva_data.models.remote.budget import cost, most
from eva_data.models.remote.litellm_provider import price_of
from eva_data.models.remote.llm import RemoteLLM

pytestmark = pytest.mark.slow

DOLLAR_A_TOKEN = (1e6, 1e6)


# --- prices ------------------------------------------------------------------------------------------------------


def test_a_reply_costs_its_tokens_at_dollars_per_million() -> None:
    # 1000 x $0.50 and 200 x $2 per million.
    assert cost((0.5, 2.0), 1000, 200) == pytest.approx(0.0009)
    assert cost((0.5, 2.0), 0, 0) == 0.0


def test_what_nobody_knows_has_no_cost_rather_than_none_at_all() -> None:
    assert [cost(None, 10, 10), cost((1.0, 1.0), None, 10), cost((1.0, 1.0), 10, None)] == [None, None, None]
    # Own hardware needs no count.
    assert cost((0.0, 0.0), None, None) == 0.0


def test_a_request_can_cost_a_token_per_byte_and_all_its_samples_in_full() -> None:
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Größe?"}]
    # 8 + 32 and 8 + 32 bytes at $1, 3 x 100 tokens at $2.
    assert most((1.0, 2.0), messages, 3, 100) == pytest.approx((80 * 1 + 300 * 2) / 1e6)


def test_text_that_is_no_valid_unicode_has_a_price_too() -> None:
    assert most((1.0, 0.0), [{"role": "user", "content": "a\ud800"}], 1, 1) == pytest.approx(34 / 1e6)


def test_a_price_is_the_settings_then_the_table_of_the_provider_then_unknown() -> None:
    def api(**fields: Any) -> ApiModel:
        return ApiModel(backend="api", **fields)

    assert price_of(api(model="gpt-4o-mini", prices=Prices(input=1, output=2))) == (1.0, 2.0)
    known = price_of(api(model="gpt-4o-mini"))
    assert known is not None and min(known) > 0
    # A server of one's own is not that provider's model, whatever it is called.
    assert price_of(api(model="gpt-4o-mini", base_url="http://127.0.0.1:1/v1")) is None
    assert price_of(api(model="nobody/knows-this")) is None


def test_a_budget_for_a_model_without_a_price_is_refused_before_it_is_asked() -> None:
    block = ApiModel(backend="api", model="tiny", base_url="http://127.0.0.1:1/v1")
    player = Player(block, "tiny", "tiny@unknown", None)
    with pytest.raises(ConfigError, match="`--budget` is set, but the price of `tiny` is unknown"):
        connection(player, served=None, budget=20.0)
    assert connection(player, served=None, budget=None)["price"] is None


# --- money that is set aside -------------------------------------------------------------------------------------

amounts = st.integers(0, 64)
"""In dollars: sums of whole numbers are exact."""


def bill_of(cost: float | None) -> Bill:
    return Bill("m@1", "respond", 1, 1, 10, 20, 0.5, cost)


@settings(max_examples=50)
@given(
    budget=st.integers(0, 200),
    spent=st.integers(0, 100),
    requests=st.lists(st.tuples(amounts, st.floats(0, 1), st.integers(0, 5), st.booleans()), max_size=20),
)
def test_no_order_of_replies_spends_more_than_the_budget(
    tmp_path_factory: pytest.TempPathFactory,
    budget: int,
    spent: int,
    requests: list[tuple[int, float, int, bool]],
) -> None:
    paid = {"sum": spent, "open": 0, "let through": 0}

    async def ask(keepers: list[Keeper], reserved: int, share: float, turns: int, second: bool) -> None:
        keeper = keepers[second]
        try:
            await keeper.reserve(reserved)
        except BudgetError:
            # What is in flight may still turn out cheap enough.
            assert paid["open"] == 0
            assert paid["sum"] + reserved > budget
            return
        paid["open"] += 1
        paid["let through"] += reserved
        assert paid["let through"] + paid["sum"] <= budget
        for _ in range(turns):
            await asyncio.sleep(0)
        became = int(reserved * share)
        paid["open"] -= 1
        paid["let through"] -= reserved
        paid["sum"] += became
        await keeper.keep({}, bill_of(became), reserved)

    async def all_at_once() -> None:
        path = tmp_path_factory.mktemp("purse") / "ledger.sqlite"
        # Two jobs with a connection each, as two processes have them.
        with Ledger(path) as one, Ledger(path) as other:
            one.keep_completions({}, [bill_of(spent)])
            keepers = [Keeper(ledger, bill_of(None), budget) for ledger in (one, other)]
            async with keepers[0], keepers[1], asyncio.timeout(20), asyncio.TaskGroup() as group:
                for request in requests:
                    group.create_task(ask(keepers, *request))
            assert one.spent() == (paid["sum"], 0)

    asyncio.run(all_at_once())
    assert paid["sum"] <= max(budget, spent)


def test_a_request_waits_for_the_replies_that_may_leave_enough_for_it(tmp_path: Path) -> None:
    async def main() -> list[str]:
        said = []
        with Ledger(tmp_path / "ledger.sqlite") as ledger:
            async with Keeper(ledger, bill_of(None), 10) as keeper:
                await keeper.reserve(8)
                waiting = asyncio.create_task(keeper.reserve(5))
                await asyncio.sleep(0.01)
                said.append("waits" if not waiting.done() else "does not wait")
                await keeper.keep({}, bill_of(3), 8)
                await waiting
                said.append("is let through")
                # 3 are spent and 5 reserved.
                late = asyncio.create_task(keeper.reserve(5))
                await asyncio.sleep(0.01)
                await keeper.keep({}, bill_of(5), 5)
                with pytest.raises(BudgetError, match=r"\$10.00 is used up: \$8.00 are spent, .* could cost \$5.0000"):
                    await late
                await keeper.reserve(2)
        return said

    assert asyncio.run(main()) == ["waits", "is let through"]


# --- a model behind a server -------------------------------------------------------------------------------------


def priced(folder: Path, server: Misbehaving, **fields: Any) -> RemoteLLM:
    """A price of one dollar a token, in and out, and at most 16 tokens per answer."""
    return remote(folder, server, price=DOLLAR_A_TOKEN, **fields)


def bills(folder: Path) -> list[dict[str, Any]]:
    with Ledger(folder / "ledger.sqlite") as ledger:
        return [{key: value for key, value in bill.items() if key != "seconds"} for bill in ledger.bills()]


PROMPTS = [f"B{number:02}" for number in range(20)]
"""Each is one word in and, as `v1: B00, time 1, choice 0`, six words out: $7. Its 3 bytes can cost 35 + 16 = $51."""


@pytest.mark.parametrize("in_flight", [1, 8])
def test_exactly_the_calls_that_fit_a_budget_are_made_and_a_higher_one_asks_only_the_rest(
    tmp_path: Path, in_flight: int
) -> None:
    with Misbehaving(delay=0.01) as server:
        # The call after k finished ones needs 7 k + 51 <= 100, so the eighth is the last.
        with pytest.raises(BudgetError, match=r"the budget of \$100.00 is used up: \$56.00 are spent"):
            ask(priced(tmp_path, server, budget=100.0, max_in_flight=in_flight), PROMPTS)
        assert len(server.seen) == 8
        assert bills(tmp_path) == [
            {
                "iteration": 1, "stage": "respond", "model": "tiny@1", "replies": 8, "completions": 8,
                "prompt_tokens": 8, "completion_tokens": 48, "cost": 56.0, "unpriced": 0,
            }
        ]  # fmt: skip
        with pytest.raises(BudgetError, match=r"\$56.00 are spent"):
            ask(priced(tmp_path, server, budget=100.0), PROMPTS)
        assert len(server.seen) == 8
        answers = ask(priced(tmp_path, server, budget=1000.0), PROMPTS)
        assert all(completion.text for completions in answers for completion in completions)
        assert Counter(seen.prompt for seen in server.seen) == dict.fromkeys(PROMPTS, 1)
    assert [bill["cost"] for bill in bills(tmp_path)] == [20 * 7.0]


def test_samples_that_share_a_request_are_paid_for_together(tmp_path: Path) -> None:
    with Misbehaving() as server:
        # Three answers can cost 35 + 48 = $83, and cost 1 + 18 = $19: the second request needs 19 + 83 <= 101.
        with pytest.raises(BudgetError, match=r"\$19.00 are spent, and the next call could cost \$83.0000"):
            ask(priced(tmp_path, server, budget=101.0), PROMPTS, n=3)
        assert [seen.body["n"] for seen in server.seen] == [3]
        ask(priced(tmp_path, server, budget=102.0), PROMPTS[:2], n=3)
    assert [(bill["replies"], bill["completions"], bill["cost"]) for bill in bills(tmp_path)] == [(2, 6, 38.0)]


def test_no_fault_of_a_server_makes_a_build_spend_more_than_its_budget(tmp_path: Path) -> None:
    faults = ("429", "500", "hang up", "cut length", "late 2", "null", "fewer choices", "refuse n")

    def now_and_then(seen: Seen) -> str | None:
        return faults[seen.number // 3 % len(faults)] if seen.number % 3 == 0 else None

    with Misbehaving(faults=now_and_then) as server:
        with pytest.raises(BudgetError):
            ask(priced(tmp_path, server, budget=700.0, timeout_seconds=1), PROMPTS, n=2)
        sent = sum(_tokens(seen) for seen in server.seen if seen.answered)
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        spent, unknown = ledger.spent()
    # A reply that was lost counts as the dearest that it can have been.
    assert sent <= spent <= 700
    assert unknown == 0


def _tokens(seen: Seen) -> int:
    """Tokens of the prompt and of the answers: one for the prompt, and six for each choice with a text."""
    choices = seen.body["n"] - (seen.fault == "fewer choices")
    return 1 if seen.fault == "null" else 1 + 6 * choices


def test_the_questions_that_recognise_a_server_are_paid_from_the_same_purse(tmp_path: Path) -> None:
    with Misbehaving() as server:
        with pytest.raises(BudgetError):
            ask(priced(tmp_path, server, budget=50.0, canary=True), PROMPTS)
        assert server.seen == []
        ask(priced(tmp_path, server, budget=2000.0, canary=True), PROMPTS[:1])
        asked = len(server.seen)
    stages = {bill["stage"]: bill["replies"] for bill in bills(tmp_path)}
    assert stages == {"canary": asked - 1, "respond": 1}


def test_what_was_spent_is_what_every_reply_cost_and_says_of_how_many_that_is_unknown(tmp_path: Path) -> None:
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        assert ledger.spent() == (0, 0)
        ledger.keep_completions({}, [bill_of(0.25), bill_of(None), bill_of(0.5), bill_of(None)])
        assert ledger.spent() == (0.75, 2)
