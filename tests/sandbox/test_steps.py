"""The worlds in which an answer shows its steps, and the gate that their solver must pass."""

from collections import Counter
from pathlib import Path

import pytest

from eva_data.config.reading import RECIPES, load_config
from eva_data.dataset.seeds import read_seeds
from eva_data.models.resolve import SANDBOX_MODELS, folder_fingerprint, resolve
from eva_data.sandbox.gate import failure
from eva_data.sandbox.steps import HOPELESS_SHARE, MASTERED, MASTERED_SHARE, crowded_prompts, score, shown
from eva_data.sandbox.world import depth, heldout_prompts, is_reserved, parse

TIGER = "Write the word tiger backwards, then put it in capital letters."


@pytest.mark.parametrize(
    ("response", "reward"),
    [
        ("regit>REGIT", 1.0),
        ("REGIT", 1.0),
        (" regit> REGIT \n", 1.0),
        ("nonsense>REGIT", 1.0),
        ("regit", 0.0),
        ("regit>REGIT>", 0.0),
        ("regit>regit", 0.0),
        ("", 0.0),
    ],
)
def test_what_stands_after_the_last_step_is_the_answer(response: str, reward: float) -> None:
    assert score(TIGER, response) == reward


def test_a_text_that_is_no_puzzle_has_no_reward() -> None:
    assert score("Write a poem about a tiger.", "REGIT") is None


def test_the_right_response_shows_the_result_of_every_operation() -> None:
    task = parse("Keep the first three letters of the word tiger, then count the letters of it, then add 4 to it.")
    assert task is not None
    assert shown(task) == "tig>3>7"


def test_crowded_prompts_are_mostly_mastered_or_hopeless_and_never_held_out() -> None:
    prompts = crowded_prompts(2000, 1)
    assert len(set(prompts)) == 2000
    assert prompts[:500] == crowded_prompts(500, 1)
    assert prompts[:5] != crowded_prompts(5, 2)
    kinds: Counter[str] = Counter()
    for prompt in prompts:
        task = parse(prompt)
        assert task is not None and not is_reserved(task.source)
        if len(task.source) == 6 and task.source.isdigit():
            kinds["hopeless"] += 1
        elif depth(task) == 1 and task.operations[0].name in MASTERED:
            kinds["mastered"] += 1
        else:
            assert depth(task) == 2
            kinds["rest"] += 1
    # Of 2,000 draws, a share of .7 has a standard deviation of 20, and repeated draws of easy prompts are left out.
    assert kinds["mastered"] == pytest.approx(2000 * MASTERED_SHARE, abs=120)
    assert kinds["hopeless"] == pytest.approx(2000 * HOPELESS_SHARE, abs=80)


def test_seeds_come_from_the_world_that_the_settings_name() -> None:
    seeds = load_config(RECIPES / "crowded.yaml", ["seeds.sandbox=30"]).seeds
    assert seeds is not None
    drawn, rejects = read_seeds(seeds, 5)
    texts = {turns[-1]["content"] for turns in drawn["prompt"].to_list()}
    assert (texts, rejects.height) == (set(crowded_prompts(30, 5)), 0)


def row(number: int, greedy: float, any_of_6: float) -> dict[str, float]:
    return {"depth": number, "greedy": greedy, "any_of_6": any_of_6, "a_min": 0.2}


@pytest.mark.parametrize(
    ("second", "third", "said"),
    [
        (0.95, 0.2, None),
        (0.97, 0.6, None),
        (0.948, 0.3, "theta_0 solves 94.8% of the puzzles of two operations, expected at least 95%"),
        (
            0.96,
            0.19,
            "any of six samples of theta_0 solves 19.0% of the puzzles of three operations, expected 20% to 60%",
        ),
        (
            0.96,
            0.61,
            "any of six samples of theta_0 solves 61.0% of the puzzles of three operations, expected 20% to 60%",
        ),
    ],
)
def test_the_gate_names_the_figure_that_is_out_of_bounds(second: float, third: float, said: str | None) -> None:
    assert failure([row(2, second, 1.0), row(3, 0.1, third)]) == said


def test_the_models_are_found_by_their_names() -> None:
    for name, path in SANDBOX_MODELS.items():
        found = resolve(name)
        assert (found.path, found.fingerprint) == (path, f"{name}@{folder_fingerprint(path)}")


@pytest.mark.slow
def test_one_model_answers_with_its_steps_and_rewrites() -> None:
    import torch
    from distilabel.steps.tasks.evol_instruct.utils import MUTATION_TEMPLATES
    from transformers import AutoTokenizer, LlamaForCausalLM

    from eva_data.sandbox.measure import reply

    folder = SANDBOX_MODELS["sandbox-both"]
    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompts = heldout_prompts(20, (2,))
    answers = reply(model, tokenizer, prompts, max_tokens=40)
    assert sum(score(prompt, answer) == 1 for prompt, answer in zip(prompts, answers, strict=True)) >= 16
    requests = [MUTATION_TEMPLATES["DEEPENING"].replace("<PROMPT>", prompt) for prompt in prompts]
    rewritten = [parse(text) for text in reply(model, tokenizer, requests, max_tokens=96)]
    assert sum(task is not None and depth(task) == 3 for task in rewritten) >= 16


def test_a_folder_of_the_first_world_goes_on_in_it_without_an_eva_yaml(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(built.parent)
    old, new = (load_config(None, [f"folder={folder}"]) for folder in (built, built.with_name("new")))
    assert old.seeds is not None and new.seeds is not None
    assert (old.seeds.world, old.model_solver.model) == ("careless", "sandbox")  # type: ignore[union-attr]
    assert (new.seeds.world, new.model_solver.model) == ("steps", "sandbox-steps")  # type: ignore[union-attr]
