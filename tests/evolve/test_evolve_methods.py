"""The whole request of each strategy to the creator, and the reading of the reply."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from eva_data.calls import Unparsable
from eva_data.errors import ConfigError, DataError
from eva_data.evolve import METHODS, Method, Strategy, build_method, user_strategy
from eva_data.evolve.conversation import Conversation, read_conversation
from eva_data.own_code import FOLDER

RIVERS = Conversation((), "Name three rivers.")


def named(method: Method, name: str) -> Strategy:
    [strategy] = [strategy for strategy in method.strategies if strategy.name == name]
    return strategy


def asked(strategy: Strategy, prompt: Conversation = RIVERS) -> str:
    [message] = strategy.render(prompt)
    assert message["role"] == "user"
    return message["content"]


def silent_llm() -> Any:
    """An LLM without answers, because Distilabel's tasks need an LLM before they render a request."""
    from distilabel.models.llms.base import LLM

    class Silent(LLM):  # type: ignore[misc]
        @property
        def model_name(self) -> str:
            return "silent"

        def generate(self, inputs: Any, num_generations: int = 1, **kwargs: Any) -> Any:
            raise NotImplementedError

    return Silent()


def test_evol_instruct_asks_with_distilabels_words() -> None:
    method = build_method("evol_instruct")
    assert [(s.name, s.kind) for s in method.strategies] == [
        ("CONSTRAINTS", "in_depth"),
        ("DEEPENING", "in_depth"),
        ("CONCRETIZING", "in_depth"),
        ("INCREASED_REASONING_STEPS", "in_depth"),
        ("BREADTH", "in_breadth"),
    ]
    assert method.sequential
    assert asked(named(method, "CONCRETIZING")) == (
        "I want you act as a Prompt Rewriter.\n\n"
        "Your objective is to rewrite a given prompt into a more complex version to make those "
        "famous AI systems "
        "(e.g., chatgpt and GPT4) a bit harder to handle.\n\n"
        "But the rewritten prompt must be reasonable and must be understood and responded by humans.\n\n"
        "Your rewriting cannot omit the non-text parts such as the table and code in #The Given "
        "Prompt#:. Also, "
        "please do not omit the input in #The Given Prompt#.\n\n"
        "You SHOULD complicate the given prompt using the following method: \n"
        "Please replace general concepts with more specific concepts.\n\n"
        "You should try your best not to make the #Rewritten Prompt# become verbose, #Rewritten "
        "Prompt# can only add "
        "10 to 20 words into #The Given Prompt#.\n\n"
        "'#The Given Prompt#', '#Rewritten Prompt#', 'given prompt' and 'rewritten prompt' are not "
        "allowed to appear "
        "in #Rewritten Prompt#\n\n"
        "#The Given Prompt#:\nName three rivers.\n#Rewritten Prompt#:\n\n"
    )
    assert asked(named(method, "BREADTH")) == (
        "I want you act as a Prompt Creator.\n\n"
        "Your goal is to draw inspiration from the #Given Prompt# to create a brand new prompt.\n\n"
        "This new prompt should belong to the same domain as the #Given Prompt# but be even more rare.\n\n"
        "The LENGTH and complexity of the #Created Prompt# should be similar to that of the #Given "
        "Prompt#.\n\n"
        "The #Created Prompt# must be reasonable and must be understood and responded by humans.\n\n"
        "'#Given Prompt#', '#Created Prompt#', 'given prompt' and 'created prompt' are not allowed "
        "to appear in "
        "#Created Prompt#\n\n"
        "#Given Prompt#:\nName three rivers.\n#Created Prompt#:\n\n"
    )
    assert named(method, "DEEPENING").forbidden == (
        "#The Given Prompt#",
        "#Rewritten Prompt#",
        "given prompt",
        "rewritten prompt",
    )
    assert named(method, "DEEPENING").parse("#Rewritten Prompt#:\nName four.\n") == "Name four."


@pytest.mark.parametrize(("name", "task"), [("evol_instruct", "EvolInstruct"), ("evol_complexity", "EvolComplexity")])
def test_evolving_requests_are_those_of_distilabels_own_task(name: str, task: str) -> None:
    from distilabel.steps import tasks

    theirs = getattr(tasks, task)(llm=silent_llm(), num_evolutions=1)
    prompt = "Replace <PROMPT> by {prompt}, \\1 and {{ input }}: 100 % of it."
    # It draws a mutation each time; 200 draws show all of its at most five.
    expected = {theirs._apply_random_mutation(prompt) for _ in range(200)}
    method = build_method(name)
    assert {asked(strategy, Conversation((), prompt)) for strategy in method.strategies} == expected
    assert [strategy.name for strategy in method.strategies] == theirs.mutation_templates_names


def test_evol_complexity_is_evol_instruct_without_breadth() -> None:
    in_depth = [s for s in build_method("evol_instruct").strategies if s.kind == "in_depth"]
    own = build_method("evol_complexity")
    assert [(s.name, s.kind, s.template) for s in own.strategies] == [(s.name, s.kind, s.template) for s in in_depth]
    assert own.sequential


def test_evol_quality_takes_the_prompt_for_the_response_to_improve() -> None:
    method = build_method("evol_quality")
    assert [(s.name, s.kind) for s in method.strategies] == [
        ("HELPFULNESS", "in_depth"),
        ("RELEVANCE", "in_depth"),
        ("DEEPENING", "in_depth"),
        ("CREATIVITY", "in_depth"),
        ("DETAILS", "in_depth"),
    ]
    strategy = named(method, "DETAILS")
    assert asked(strategy) == (
        "I want you to act as a Response Rewriter.\n"
        "Your goal is to enhance the quality of the response given by an AI assistant to the #Given "
        "Prompt# through "
        "rewriting.\n"
        "But the rewritten prompt must be reasonable and must be understood and responded by humans.\n"
        "Your rewriting cannot omit the non-text parts such as the table and code in #Given Prompt# and "
        "#Given Response#. Also, please do not omit the input in #Given Prompt#.\n\n"
        "You Should enhance the quality of the response using the following method: \n"
        "Please increase the detail level of Response.\n"
        "You should try your best not to make the #Rewritten Response# become verbose, #Rewritten "
        "Response# can only "
        "add 10 to 20 words into #Given Response#.\n"
        "'#Given Response#', '#Rewritten Response#', 'given response' and 'rewritten response' are "
        "not allowed to "
        "appear in #Rewritten Response#\n"
        "#Given Prompt#:\nWrite a message that a user could send to an AI assistant.\n"
        "#Given Response#:\nName three rivers.\n#Rewritten Response#:\n"
    )
    assert strategy.parse("#Rewritten Response#:\nName three long rivers.") == "Name three long rivers."
    assert strategy.forbidden == (
        "#Given Response#",
        "#Rewritten Response#",
        "given response",
        "rewritten response",
    )


# Distilabel's task leaves its template file open.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <_io:pytest.PytestUnraisableExceptionWarning")
def test_self_instruct_asks_with_distilabels_words() -> None:
    from distilabel.steps.tasks import SelfInstruct

    method = build_method("self_instruct")
    [strategy] = method.strategies
    assert (strategy.name, strategy.kind, method.sequential) == ("SELF_INSTRUCT", "in_breadth", False)
    assert asked(strategy) == (
        "# Task Description\n"
        "Develop 1 user queries that can be received by the given AI application and applicable to "
        "the provided "
        "context. Emphasize diversity in verbs and linguistic structures within the model's textual "
        "capabilities.\n\n"
        "# Criteria for Queries\n"
        "Incorporate a diverse range of verbs, avoiding repetition.\n"
        "Ensure queries are compatible with AI model's text generation functions and are limited to "
        "1-2 sentences.\n"
        "Design queries to be self-contained and standalone.\n"
        'Blend interrogative (e.g., "What is the significance of x?") and imperative (e.g., "Detail the '
        "process of "
        'x.") styles.\n'
        "Write each query on a separate line and avoid using numbered lists or bullet points.\n\n"
        "# AI Application\nAI assistant\n\n"
        "# Context\nName three rivers.\n\n"
        "# Output\n"
    )
    theirs = SelfInstruct(llm=silent_llm(), num_instructions=1)
    theirs.load()
    prompt = "<PROMPT> {{ input }} {% if %} & <b>100 %</b>"
    assert list(strategy.render(Conversation((), prompt))) == theirs.format_input({"input": prompt})
    assert strategy.parse("\nWhich rivers are long?\nWhich are short?") == "Which rivers are long?"


def test_eva_has_ten_strategies_in_its_own_words() -> None:
    method = build_method("eva")
    assert [(s.name, s.kind) for s in method.strategies] == [
        ("persona", "in_breadth"),
        ("shift_in", "in_breadth"),
        ("shift_out", "in_breadth"),
        ("mix", "in_breadth"),
        ("abstract", "in_breadth"),
        ("constraints", "in_depth"),
        ("deepening", "in_depth"),
        ("concretizing", "in_depth"),
        ("reasoning", "in_depth"),
        ("expansion", "in_depth"),
    ]
    assert len({s.template for s in method.strategies}) == 10
    assert all("{how}" not in s.template and s.template.count("{prompt}") == 1 for s in method.strategies)
    assert asked(named(method, "reasoning")) == (
        "You rewrite prompts that people send to an AI assistant, so that answering them well takes "
        "more skill.\n\n"
        "Rewrite the prompt below. What to change:\n"
        "Make it take more steps to get to the answer: let a result depend on an intermediate one "
        "that has to be "
        "worked out first, or let conditions interact, so that the answer cannot be given in a "
        "single step.\n\n"
        "Rules:\n"
        "- Stay with the subject and the purpose of the prompt, and keep its language.\n"
        "- Keep every table, piece of code, formula, quotation and input text that is still needed, "
        "word for word.\n"
        "- Add as few words as the change needs; harder does not mean longer.\n"
        "- It must make sense to someone who never saw the prompt below, and an expert must be able "
        "to answer it.\n"
        "- Do not answer the prompt, and do not mention that anything was rewritten.\n\n"
        "<prompt>\nName three rivers.\n</prompt>\n\n"
        "Write only the new prompt, between <new_prompt> and </new_prompt>."
    )
    assert asked(named(method, "shift_out")) == (
        "You invent prompts that people could send to an AI assistant, so that a collection of them "
        "covers more "
        "ground.\n\n"
        "Take the prompt below as a starting point and write another one. How it relates to the "
        "starting point:\n"
        "Leave the field and keep the form: pose a task of the same kind, with the same structure "
        "and asking for the "
        "same skill, in a field that has nothing to do with the one of the starting point.\n\n"
        "Rules:\n"
        "- It is a prompt of its own, not a version of the starting point, and as demanding as that "
        "or more so.\n"
        "- Write it in the language of the starting point, and at about its length.\n"
        "- It must carry all the data it speaks of, make sense by itself, and an expert must be able "
        "to answer it.\n"
        "- Do not answer either prompt, and do not mention that there was a starting point.\n\n"
        "<prompt>\nName three rivers.\n</prompt>\n\n"
        "Write only the new prompt, between <new_prompt> and </new_prompt>."
    )
    reply = "<new_prompt>Name three dyes.</new_prompt>"
    assert {s.parse(reply) for s in method.strategies} == {"Name three dyes."}
    assert isinstance(named(method, "mix").parse("Name three dyes."), Unparsable)


def test_a_users_strategy_stands_beside_the_methods_own_or_alone() -> None:
    mine = user_strategy("translate", "In Latin, as {json: 1}: {prompt} ({prompt})", "in_depth")
    assert asked(mine, Conversation((), "a {prompt} b")) == "In Latin, as {json: 1}: a {prompt} b (a {prompt} b)"
    assert mine.parse("Flumina tria nomina.") == "Flumina tria nomina."
    together = build_method("evol_complexity", [mine])
    assert [s.name for s in together.strategies] == [
        "CONSTRAINTS",
        "DEEPENING",
        "CONCRETIZING",
        "INCREASED_REASONING_STEPS",
        "translate",
    ]
    alone = build_method("self_instruct", [mine], keep_own=False)
    assert (alone.strategies, alone.sequential) == ((mine,), False)


def test_one_constraint_shows_four_examples_as_turns_and_asks_for_one_sentence() -> None:
    strategy = named(build_method("one_constraint"), "exclusion")
    messages = strategy.render(RIVERS)
    question = "Say what the answer must not contain. Begin with: Do not"
    assert [message["role"] for message in messages] == ["user", "assistant"] * 4 + ["user"]
    assert [message["content"] for message in messages[:2]] == [
        f"Task: Write a function that sorts a list of names.\n\n{question}",
        "Do not use the built-in sorting function.",
    ]
    assert messages[-1]["content"] == f"Task: Name three rivers.\n\n{question}"


@pytest.mark.parametrize(
    ("reply", "read"),
    [
        ("Do not name the Nile.", "Do not name the Nile."),
        ("Don't name the Nile.\n\nThe Amazon, the Rhine and the Po.", "Don't name the Nile."),
        ("The Amazon, the Rhine and the Po.", Unparsable("the reply does not begin as the examples do")),
        ("Donotello.", Unparsable("the reply does not begin as the examples do")),
        ("Do not use the word sweet.", Unparsable("the reply is one of the examples")),
        ("Do not " + "very " * 40 + "long.", Unparsable("the reply is longer than a constraint")),
    ],
)
def test_a_constraint_begins_as_the_examples_do_and_is_none_of_them(reply: str, read: str | Unparsable) -> None:
    assert named(build_method("one_constraint"), "exclusion").parse(reply) == read


def test_every_example_is_read_as_what_it_is() -> None:
    for strategy in build_method("one_constraint").strategies:
        for _, constraint in strategy.shots:
            assert strategy.parse(constraint) == Unparsable("the reply is one of the examples")
            assert strategy.parse(f"{constraint[:-1]} or so.") == f"{constraint[:-1]} or so."


def test_a_constraint_goes_behind_a_line_and_under_several_lines() -> None:
    strategy = named(build_method("one_constraint"), "length")
    assert strategy.written("Name three rivers. ", "Use at most 9 words.") == "Name three rivers. Use at most 9 words."
    assert strategy.written("Sort:\n3, 1, 2", "Use at most 9 words.") == "Sort:\n3, 1, 2\n\nUse at most 9 words."
    assert user_strategy("mine", "{prompt}", "in_depth").written("Name three rivers.", "Name four.") == "Name four."


@pytest.mark.parametrize("form", ["delimited", "json"])
def test_examples_of_plain_replies_go_with_no_other_form(form: Any) -> None:
    with pytest.raises(ConfigError, match=f"`evolve.reply` is {form}, but the strategy `length` of `one_constraint`"):
        build_method("one_constraint", reply=form)


def test_what_cannot_be_a_method_is_refused() -> None:
    mine = user_strategy("mine", "{prompt}", "in_depth")
    with pytest.raises(ConfigError) as unknown:
        build_method("evolinstruct")
    assert str(unknown.value) == (
        "`evolve.method` is `evolinstruct`: use one of environment, eva, evol_complexity, evol_instruct, "
        "evol_quality, one_constraint, self_instruct, self_talk, synthetic_context, or a function of your own"
    )
    with pytest.raises(ConfigError) as twice:
        build_method("eva", [mine, user_strategy("persona", "{prompt}", "in_breadth"), mine])
    assert str(twice.value) == (
        "evolve.strategies: the names ['mine', 'persona'] occur more than once in the method `eva`; "
        "rename them, or replace the method's own strategies"
    )
    with pytest.raises(ConfigError) as none:
        build_method("eva", keep_own=False)
    assert str(none.value) == "evolve.strategies: the method `eva` is left without a strategy; name one"
    with pytest.raises(ConfigError) as placeholder:
        user_strategy("mine", "Rewrite <PROMPT>", "in_depth")
    assert str(placeholder.value) == (
        "evolve.strategies: the template of `mine` has no {prompt}; write {prompt} where the prompt to rewrite belongs"
    )
    with pytest.raises(ConfigError) as kind:
        user_strategy("mine", "{prompt}", "deep")  # type: ignore[arg-type]
    assert str(kind.value) == ("evolve.strategies: the kind of `mine` is 'deep'; use one of ('in_depth', 'in_breadth')")
    with pytest.raises(ConfigError) as nameless:
        user_strategy(" ", "{prompt}", "in_depth")
    assert str(nameless.value) == ("evolve.strategies: a strategy has no name; give it one, it becomes `mutation`")


def test_history_is_shown_and_only_the_last_turn_is_to_be_rewritten() -> None:
    prompt = read_conversation(
        [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Name a river."},
            {"role": "assistant", "content": "The Nile."},
            {"role": "user", "content": "And a {prompt} lake?"},
        ]
    )
    mine = user_strategy("mine", "Make it harder: {prompt}", "in_depth")
    assert asked(mine, prompt) == (
        "The prompt to work on is the last user message of a conversation. These are the messages "
        "before it; the new "
        "prompt takes its place and must fit them.\n\n"
        "<conversation>\n"
        "[System]\nBe brief.\n\n[User]\nName a river.\n\n[Assistant]\nThe Nile.\n"
        "</conversation>\n\n"
        "Make it harder: And a {prompt} lake?"
    )
    assert prompt.ending_in("And a deep lake?") == (
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Name a river."},
        {"role": "assistant", "content": "The Nile."},
        {"role": "user", "content": "And a deep lake?"},
    )


def test_with_history_only_in_depth_strategies_suit_a_prompt() -> None:
    turn = {"role": "user", "content": "Why?"}
    system = {"role": "system", "content": "Be brief."}
    alone = read_conversation([turn])
    instructed = read_conversation([system, turn])
    continued = read_conversation([system, turn, {"role": "assistant", "content": "So."}, turn])
    eva = build_method("eva")
    assert eva.suiting(alone) == eva.suiting(instructed) == eva.strategies
    assert eva.suiting(continued) == eva.strategies[5:]
    assert build_method("self_instruct").suiting(continued) == ()


@pytest.mark.parametrize("roles", [[], ["system"], ["user", "assistant"]])
def test_a_prompt_ends_in_a_user_turn(roles: list[str]) -> None:
    with pytest.raises(DataError) as error:
        read_conversation([{"role": role, "content": "Hm."} for role in roles])
    assert str(error.value) == (
        f"a prompt with the roles {roles} cannot be evolved: it must end in a user turn; "
        "reject such prompts when the seeds are read"
    )


def test_a_method_of_ones_own_is_a_function_that_returns_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_methods.py").write_text(
        "from eva_data.evolve import Method, user_strategy\n"
        "def latin() -> Method:\n"
        "    return Method('latin', (user_strategy('latin', 'In Latin: {prompt}', 'in_depth'),))\n"
        "def nothing() -> None: ...\n"
    )
    monkeypatch.setenv(FOLDER, str(tmp_path))
    harder = user_strategy("harder", "Harder: {prompt}", "in_depth")
    method = build_method("my_methods.py:latin", [harder])
    assert (method.name, [strategy.name for strategy in method.strategies]) == ("latin", ["latin", "harder"])
    alone = build_method("my_methods.py:latin", [harder], keep_own=False)
    assert [strategy.name for strategy in alone.strategies] == ["harder"]
    with pytest.raises(ConfigError, match=r"`evolve\.method` is `my_methods\.py:nothing`, which returned NoneType"):
        build_method("my_methods.py:nothing")


def test_every_registered_method_carries_its_name() -> None:
    assert {name: build_method(name).name for name in METHODS} == {name: name for name in METHODS}
