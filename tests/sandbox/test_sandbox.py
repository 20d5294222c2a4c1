from importlib.resources import files
from pathlib import Path
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerBase

from eva_data.sandbox.examples import solving
from eva_data.sandbox.measure import reply
from eva_data.sandbox.operations import RULES
from eva_data.sandbox.verifier import score
from eva_data.sandbox.world import (
    Operation,
    Task,
    depth,
    draw_task,
    heldout_prompts,
    is_reserved,
    parse,
    render,
    seed_prompts,
    solve,
    sources,
)

MODEL = Path(str(files("eva_data.sandbox") / "model"))

BY_HAND = {
    "backwards": [
        ("Write the word tiger backwards.", "regit"),
        ("Reverse the word tiger.", "regit"),
        ("Spell the word tiger from back to front.", "regit"),
    ],
    "capitals": [
        ("Put the word tiger in capital letters.", "TIGER"),
        ("Write the word tiger in upper case.", "TIGER"),
        ("Turn the word tiger into capitals.", "TIGER"),
    ],
    "first_three": [
        ("Keep the first three letters of the word tiger.", "tig"),
        ("Cut the word tiger down to its first three letters.", "tig"),
    ],
    "last_three": [
        ("Keep the last three letters of the word tiger.", "ger"),
        ("Cut the word tiger down to its last three letters.", "ger"),
    ],
    "drop_first": [
        ("Drop the first letter of the word tiger.", "iger"),
        ("Remove the first letter from the word tiger.", "iger"),
    ],
    "drop_last": [
        ("Drop the last letter of the word tiger.", "tige"),
        ("Remove the last letter from the word tiger.", "tige"),
    ],
    "twice": [
        ("Write the word tiger twice in a row.", "tigertiger"),
        ("Put two copies of the word tiger together.", "tigertiger"),
    ],
    "double_letters": [
        ("Write each letter of the word tiger twice.", "ttiiggeerr"),
        ("Double each letter of the word tiger.", "ttiiggeerr"),
    ],
    "stars": [
        ("Replace the vowels of the word tiger with *.", "t*g*r"),
        ("Change each vowel in the word tiger to *.", "t*g*r"),
        ("Put the word tiger in capital letters. Then replace the vowels of it with *.", "T*G*R"),
    ],
    "swap_ends": [
        ("Swap the first and last letters of the word tiger.", "riget"),
        ("Exchange the two outer letters of the word tiger.", "riget"),
    ],
    "sort": [
        ("Sort the letters of the word tiger.", "egirt"),
        ("Put the letters of the word tiger in alphabetical order.", "egirt"),
        ("Replace the vowels of the word tiger with *, then sort the letters of it.", "**grt"),
        (
            "Turn the word ox into capitals. Then attach the word cat after it, then sort the letters of it.",
            "acOtX",
        ),
    ],
    "every_other": [
        ("Skip every second letter of the word tiger.", "tgr"),
        ("Keep letters 1, 3, 5 and so on of the word tiger.", "tgr"),
    ],
    "rotate": [
        ("Move the first letter of the word tiger to the end.", "igert"),
        ("Carry the first letter of the word tiger to the back.", "igert"),
    ],
    "after": [
        ("Add the word cat to the end of the word tiger.", "tigercat"),
        ("Attach the word cat after the word tiger.", "tigercat"),
    ],
    "before": [
        ("Add the word cat to the front of the word tiger.", "cattiger"),
        ("Attach the word cat before the word tiger.", "cattiger"),
    ],
    "count": [
        ("Count the letters of the word tiger.", "5"),
        ("Say how many letters the word tiger has.", "5"),
        ("Write the word tiger twice in a row, then count the letters of it.", "10"),
    ],
    "add": [
        ("Add 7 to the number 42.", "49"),
        ("Increase the number 42 by 9.", "51"),
        ("Count the letters of the word tiger. After that, add 7 to it.", "12"),
    ],
    "multiply": [
        ("Multiply the number 42 by 3.", "126"),
        ("Work out 2 times the number 42.", "84"),
    ],
}


def drawn(depth: int, seed: int) -> Task:
    return draw_task(depth, Random(seed))


@pytest.mark.parametrize("name", RULES)
def test_every_phrase_of_an_operation_is_read_and_solved_as_by_hand(name: str) -> None:
    for prompt, answer in BY_HAND[name]:
        task = parse(prompt)
        assert task is not None, prompt
        assert task.operations[-1].name == name
        assert solve(task) == answer
    tasks = [parse(prompt) for prompt, _ in BY_HAND[name]]
    assert sum(task is not None and depth(task) == 1 for task in tasks) == len(RULES[name].phrases)


def test_operations_are_done_in_the_order_in_which_they_are_named() -> None:
    prompt = "Write the word tiger backwards, then put it in capital letters. Next, drop the first letter of it."
    assert parse(prompt) == Task("tiger", (Operation("backwards"), Operation("capitals"), Operation("drop_first")))
    assert solve(Task("tiger", (Operation("backwards"), Operation("capitals"), Operation("drop_first")))) == "EGIT"


@given(depth=st.integers(1, 5), seed=st.integers(0, 10**9), phrasing=st.none() | st.integers(0, 10**9))
def test_every_drawn_task_can_be_read_back_from_any_phrasing(depth: int, seed: int, phrasing: int | None) -> None:
    task = drawn(depth, seed)
    text = render(task, None if phrasing is None else Random(phrasing))
    assert parse(text) == task
    assert text.isascii() and len(text) < 256
    assert len(task.operations) == depth
    answer = solve(task)
    assert answer is not None and 0 < len(answer) <= 32 and score(text, answer) == 1


@given(st.text())
def test_arbitrary_text_is_no_prompt(text: str) -> None:
    assert parse(text) is None


@given(depth=st.integers(1, 5), seed=st.integers(0, 10**9), data=st.data())
def test_a_prompt_with_one_character_more_or_less_means_the_same_or_nothing_but_for_its_word(
    depth: int, seed: int, data: st.DataObject
) -> None:
    task = drawn(depth, seed)
    text = render(task, Random(seed))
    at = data.draw(st.integers(0, len(text) - 1))
    for changed in (text[:at] + text[at + 1 :], text[:at] + data.draw(st.sampled_from("aE .,*")) + text[at:]):
        read = parse(changed)
        if read is not None and changed != text:
            same_steps = [operation.name for operation in read.operations] == [o.name for o in task.operations]
            assert same_steps and (read.source != task.source or "letters 1, 3" in text)


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        ".",
        "Reverse the word tiger",
        "Reverse the word tiger. ",
        " Reverse the word tiger.",
        "Reverse the word tiger.\n",
        "Reverse the word tiger..",
        "reverse the word tiger.",
        "Reverse the word .",
        "Reverse the word t.",
        "Reverse the word Tiger.",
        "Reverse the word tiger lily.",
        "Reverse the number 42.",
        "Multiply the word tiger by 2.",
        "Multiply the number 42 by 4.",
        "Add 0 to the number 42.",
        "Add 7 to the number 042.",
        "Add the word dog to the end of the word tiger.",
        "Translate the word tiger.",
        "Reverse the word tiger, then translate it.",
        "Reverse the word tiger, then Sort the letters of it.",
        "Reverse the word tiger, sort the letters of it.",
        "Reverse the word tiger, then.",
        "Reverse it.",
        "Count the letters of the word tiger, then reverse it.",
        "Drop the first letter of the word ox, then drop the last letter of it.",
        "Reverse the word tiger" + ", then reverse it" * 5 + ".",
    ],
)
def test_whatever_is_not_exactly_a_task_of_one_to_five_steps_has_no_answer(prompt: str) -> None:
    assert parse(prompt) is None
    assert score(prompt, "tiger") is None


def test_depth_counts_the_operations() -> None:
    assert [depth(drawn(n, 0)) for n in (1, 2, 3, 4, 5)] == [1, 2, 3, 4, 5]


def test_the_right_answer_is_worth_one_and_others_nine_tenths_of_their_similarity() -> None:
    prompt = "Write the word tiger backwards."
    assert score(prompt, "regit") == 1.0
    assert score(prompt, " regit\n") == 1.0
    assert score(prompt, "regi") == pytest.approx(0.9 * 4 / 5)
    assert score(prompt, "regits") == pytest.approx(0.9 * 5 / 6)
    assert score(prompt, "REGIT") == 0.0
    assert score(prompt, "") == 0.0
    assert score("Write the letters of tiger backwards.", "regit") is None


def test_seeds_are_different_fixed_by_their_seed_and_of_the_depths_asked_for() -> None:
    assert seed_prompts(300, 7) == seed_prompts(300, 7)
    assert seed_prompts(300, 7)[:200] == seed_prompts(200, 7)
    assert set(seed_prompts(300, 7)) != set(seed_prompts(300, 8))
    prompts = seed_prompts(300, 7, depths=(1, 3))
    assert len(set(prompts)) == 300
    assert [depth(task) for prompt in prompts[:4] if (task := parse(prompt))] == [1, 3, 1, 3]


def test_heldout_prompts_are_fixed_and_use_words_that_no_seed_uses() -> None:
    heldout = [task for prompt in heldout_prompts(100) if (task := parse(prompt))]
    seeds = [task for prompt in seed_prompts(2000, 0) if (task := parse(prompt))]
    assert heldout_prompts(100)[:50] == heldout_prompts(50, (1,))
    assert [depth(task) for task in heldout] == [d for d in (1, 2, 3, 4, 5) for _ in range(100)]
    assert all(is_reserved(task.source) for task in heldout)
    assert not any(is_reserved(task.source) for task in seeds)
    assert not {task.source for task in heldout} & {task.source for task in seeds}


def test_the_word_list_is_ordinary_and_a_tenth_of_it_is_reserved() -> None:
    words = (files("eva_data.sandbox") / "words.txt").read_text().split()
    assert words == sorted(set(words)) and len(words) > 1000
    assert all(word.isascii() and word.islower() and 4 <= len(word) <= 9 for word in words)
    assert sorted(sources("text", True) + sources("text", False)) == words
    assert 0.08 < len(sources("text", True)) / len(words) < 0.12


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(MODEL)


@pytest.fixture(scope="module")
def model() -> LlamaForCausalLM:
    loaded = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    assert isinstance(loaded, LlamaForCausalLM)
    return loaded


@pytest.mark.slow
@given(text=st.text(), seed=st.integers(0, 10**9))
@settings(deadline=None)
def test_decoding_gives_every_text_back(tokenizer: PreTrainedTokenizerBase, text: str, seed: int) -> None:
    for whole in (text, text + render(drawn(3, seed), Random(seed)) + text):
        ids = tokenizer(whole)["input_ids"]
        assert tokenizer.decode(ids) == whole
        assert tokenizer.batch_decode([ids]) == [whole]


@pytest.mark.slow
def test_a_prompt_is_one_token_a_phrase_and_one_a_letter(tokenizer: PreTrainedTokenizerBase) -> None:
    ids = tokenizer("Write the word tiger backwards, then put it in capital letters.")["input_ids"]
    assert [tokenizer.decode([i]) for i in ids] == [
        "Write the word ",
        *"tiger",
        " backwards",
        ", then ",
        "put it in capital letters",
        ".",
    ]


@pytest.mark.slow
@pytest.mark.parametrize("ends", ["kept", "stripped"])
def test_a_rewrite_request_in_distilabels_words_is_short_and_decodes_to_itself(
    tokenizer: PreTrainedTokenizerBase, ends: str
) -> None:
    templates = pytest.importorskip("distilabel.steps.tasks.evol_instruct.utils").MUTATION_TEMPLATES
    for template in templates.values():
        request = template.replace("<PROMPT>", "Reverse the word tiger.")
        request = request.strip() if ends == "stripped" else request
        ids = tokenizer(request)["input_ids"]
        assert tokenizer.decode(ids) == request
        assert len(ids) <= 7 + 6


@pytest.mark.slow
def test_the_chat_template_marks_turns_and_refuses_a_system_message(
    tokenizer: PreTrainedTokenizerBase,
) -> None:
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert tokenizer.apply_chat_template(turns, tokenize=False) == "<|user|>a<|end|><|assistant|>b<|end|>"
    prompt = tokenizer.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
    assert prompt == "<|user|>a<|end|><|assistant|>"
    with pytest.raises(Exception, match="knows the roles user and assistant only, found system"):
        tokenizer.apply_chat_template([{"role": "system", "content": "s"}, *turns])


@pytest.mark.slow
def test_the_model_folder_is_small_and_says_how_it_ends(model: LlamaForCausalLM) -> None:
    assert sum(file.stat().st_size for file in MODEL.iterdir()) < 4 * 2**20
    assert model.num_parameters() <= 2_000_000
    assert model.generation_config.eos_token_id == model.config.eos_token_id == 259


@pytest.mark.slow
def test_the_model_answers_most_heldout_prompts_of_depth_one(
    model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerBase
) -> None:
    prompts = heldout_prompts(50, (1,))
    replies = reply(model, tokenizer, prompts, max_tokens=40)
    right = [score(prompt, text) == 1 for prompt, text in zip(prompts, replies, strict=True)]
    assert sum(right) >= 42


def test_a_careless_answer_leaves_the_last_operation_of_a_deep_prompt_out() -> None:
    for depth_of, careless, wrong in [(2, 1.0, False), (3, 1.0, True), (5, 1.0, True), (3, 0.0, False)]:
        prompt, answer = solving(Random(depth_of), {depth_of: 1.0}, careless)
        task = parse(prompt)
        assert task is not None
        shorter = Task(task.source, task.operations[:-1])
        assert answer == (solve(shorter) if wrong else solve(task))
