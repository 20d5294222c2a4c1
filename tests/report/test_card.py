"""The dataset's card: its numbers agree with the tables, its snippets run, and no text of the data can break it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from polars.testing import assert_frame_equal
from small_store import BASE, REWARD, THETA, answers, frame, prompt, replace_table, small_store, write
from tiny import save_model

from eva_data.cli.text.build import print_lineages
from eva_data.config.reading import parse_config
from eva_data.dataset.store import Store
from eva_data.method.outcome import outcome_of
from eva_data.models.licences import stated_licence
from eva_data.models.resolve import SANDBOX_MODEL
from eva_data.report import numbers
from eva_data.report.card import dataset_card, write_card
from eva_data.report.markdown import LINES, LONGEST, code, prose
from eva_data.tables.schemas import EVOLUTIONS, MESSAGES, PROMPTS, RESPONSES, TABLES, empty

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
HEADINGS = [
    "small",
    "Load it",
    "Examples",
    "Train on it",
    "What is in it",
    "How it was made",
    "In numbers",
    "Limitations and known biases",
    "Contamination",
    "Licence",
    "Citation",
]
MARKDOWN = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def card_of(store: Store, **changes: Any) -> str:
    return dataset_card(store, store.iterations(), **({"repo": None, "revision": None, "licence": None} | changes))


def body(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def section(card: str, heading: str) -> str:
    return body(card).split(f"\n## {heading}\n\n")[1].split("\n## ")[0]


def snippets(card: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)


def run(code: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"HF_HOME": str(cwd / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=os.environ | environment | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def shown(cell: Token) -> str:
    """What a reader sees of an inline token."""
    parts = {"softbreak": "\n", "hardbreak": "\n"}
    return "".join(
        "\n" if part.type == "html_inline" and part.content == "<br>" else parts.get(part.type, part.content)
        for part in cell.children or ()
    )


def cells(text: str) -> list[list[str]]:
    """The rows of all tables of a Markdown text, as a reader sees them."""
    tokens = MARKDOWN.parse(text)
    rows: list[list[str]] = []
    for place, token in enumerate(tokens):
        if token.type == "tr_open":
            rows.append([])
        if token.type in ("td_open", "th_open"):
            rows[-1].append(shown(tokens[place + 1]))
    return rows


def test_the_overview_counts_what_is_in_the_tables(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    expected = pl.DataFrame(
        {
            "iteration": [1, 2],
            "prompts": [3, 2],
            "evolved": [0, 1],
            "pairs": [2, 1],
            "rejects": [2, 0],
            "eliminated": [0, 1],
            "gap_mean": [0.75, 0.8],  # (1 - 0) and (0.75 - 0.25); 0.9 - 0.1
            "gap_median": [0.75, 0.8],
            "tokens": [60, 101],  # 6 answers of 10; 8 fresh ones, 2 being reused, and 3 evolutions of 7
        },
        schema=numbers.OVERVIEW,
    )
    assert_frame_equal(numbers.overview(store, [1, 2]), expected)
    table = section(card_of(store), "Load it")
    assert table.startswith('`"small"` is this folder. From another place, give its path.\n')
    assert (
        "| iteration | prompts | evolved | pairs | mean reward gap | tokens written | paid |\n"
        "|--:|--:|--:|--:|--:|--:|--:|\n"
        "| 1 | 3 | 0 % | 2 | 0.75 | 60 | $0.7500 |\n"
        "| 2 | 2 | 50 % | 1 | 0.8 | 101 | $0.00 and 4 replies of unknown price |\n"
    ) in card_of(store)


def test_informativeness_is_summed_up_for_each_kind_of_prompt(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    rows = [
        # a_min of the three seeds: 1, 0 and 0.5.
        (1, "seed", 3, 0.5, 0.25, 0.5, 0.75),
        (2, "carried", 1, 0.25, 0.25, 0.25, 0.25),
        (2, "evolved", 1, 0.8, 0.8, 0.8, 0.8),
    ]
    expected = pl.DataFrame(rows, schema=numbers.INFORMATIVENESS_SUMMARY, orient="row")
    assert_frame_equal(numbers.informativeness_summary(store, [1, 2], "a_min"), expected)


def test_rejects_and_eliminated_evolutions_are_counted_by_reason_without_its_particulars(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    rows = [
        ("evolve", "contamination", 2, 1),
        ("pair", "one_distinct_response", 1, 1),
        ("reward", "unverifiable", 1, 1),
    ]
    expected = pl.DataFrame(rows, schema=numbers.REJECTS_BY_REASON, orient="row")
    assert_frame_equal(numbers.rejects_by_reason(store, [1, 2]), expected)
    assert (
        "| stage | reason | iteration 1 | iteration 2 | \n"
        "|:--|:--|--:|--:|\n"
        "| evolve | `contamination` | 0 | 1 | \n"
        "| pair | `one_distinct_response` | 1 | 0 | \n"
        "| reward | `unverifiable` | 1 | 0 | \n"
    ) in card_of(store)


def test_reward_and_length_are_ranked_within_each_prompt(tmp_path: Path) -> None:
    # "good one" (8 characters) beats "bad" (3), but "oak" (3) beats "a stone" (7); the third prompt's are equal.
    found = numbers.lengths(small_store(tmp_path / "small"), 1)
    assert found == numbers.Lengths(
        answers=4,
        correlation=0.0,
        pairs=2,
        chosen_longer=0.5,
        rejected_longer=0.5,
        chosen_mean=5.5,
        rejected_mean=5.0,
        cut=0.0,
    )


def test_the_correlation_of_three_ranks_is_spearmans(tmp_path: Path) -> None:
    store, config = Store(tmp_path / "small"), small_store(tmp_path / "other").manifest(1).config
    prompts = frame([prompt("11", "Say ab.")], PROMPTS)
    responses = frame(answers("11", ("aa", 0.1), ("a", 0.2), ("aaa", 0.3), ("", None)), RESPONSES)
    settings = parse_config(config, "the test")
    judged = outcome_of(settings, 1, prompts, responses, n=4, on_policy=False)
    tables = {"prompts": prompts, "responses": responses, "preferences": judged.preferences}
    write(store, settings, 1, tables)
    # Ranks 1 2 3 and 2 1 3: 1 - 6 * (1 + 1 + 0) / (3 * 8).
    assert numbers.lengths(store, 1).correlation == pytest.approx(0.5)
    assert numbers.pairs_where(store, [1], ~pl.col("on_policy")) == 1


def test_examples_go_from_the_seed_through_evolutions_to_the_pair(tmp_path: Path) -> None:
    assert section(card_of(small_store(tmp_path / "small")), "Examples") == (
        "Drawn at random from iteration 2, not picked.\n\n"
        "| | example 1 |\n"
        "|:--|:--|\n"
        "| seed | Say ab. |\n"
        "| evolved by `concretise` | Say ab and ba. |\n"
        "| evolved by `deepen` | Say ab and ba, twice. |\n"
        "| **chosen**, reward 0.9 | good one |\n"
        "| **rejected**, reward 0.1 | bad |\n"
    )


def test_a_rewrite_that_gave_the_seed_back_leads_no_lineage_in_a_circle(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    before = section(card_of(store), "Examples")
    attempts = store.scan("evolutions", 2).collect()
    again = attempts.tail(1).with_columns(
        step=pl.lit(4, pl.Int32),
        prompt_id=pl.lit("11"),
        parent_id=pl.lit("55"),
        prompt=pl.Series([[{"role": "user", "content": "Say ab."}]], dtype=MESSAGES),
        reason=pl.lit("duplicate"),
        duplicate_of=pl.lit("11"),
    )
    replace_table(store, "evolutions", 2, pl.concat([attempts, again]))
    assert section(card_of(store), "Examples") == before
    print_lineages(store, 2, 3)


def test_how_it_was_made_says_the_settings_the_models_and_the_licences_that_are_known(tmp_path: Path) -> None:
    settings = {
        "sample": {"fraction": 0.125, "method": "stratified"},
        "evolve": {"evolutions": 8, "temperature": 0.5, "near_duplicate": None, "method": "eva"},
        "pair": {"min_chosen": 0.5, "margin": 0.25},
    }
    card = card_of(small_store(tmp_path / "small", settings=settings))
    assert section(card, "How it was made").strip() == (
        "- **Seeds**: 3 prompts from `seeds.jsonl`.\n"
        "- **Answer**: the solver gives 2 answers to each prompt (temperature 0.7, top-p 0.9, at most 1,024 tokens).\n"
        "- **Score**: each answer is scored by the verifier `eva_data.sandbox.verifier:score`, a function that checks "
        "the answer.\n"
        "- **Pair**: the chosen answer has the highest reward, the rejected answer the lowest. Prompts whose answers "
        "are all equal in text or reward give no pair. The chosen answer must have a reward of at least 0.5. The two "
        "rewards must differ by at least 0.25.\n"
        "- **Draw**: 12.5 % of the previous iteration's prompts, evenly from 4 strata of `a_min` (best minus worst "
        "reward). For this, the new solver first answers all of them.\n"
        "- **Evolve**: the creator rewrites each drawn prompt 8 times in a row, always from the newest result, by "
        "`eva` (temperature 0.5, top-p 1, at most 512 tokens). Duplicates, refusals and unreadable replies are "
        "eliminated.\n"
        "- **Mix**: 80 % evolved prompts, the rest carried over from the iteration before.\n\n"
        "| model | role | in iteration | its licence |\n"
        "|---|---|---|---|\n"
        f"| `{BASE}` | solver | 1 | apache-2.0, by its own card |\n"
        f"| `{REWARD}` | reward | 1, 2 | no model |\n"
        f"| `{THETA}` | solver, creator | 2 | not known |\n\n"
        "A model called `iter_N` is the solver trained on the pairs of iteration N by the recipe `dpo`."
    )


JUDGE = {"backend": "judge", "judge": {"backend": "api", "model": "gemini/x"}, "highest": 5}


@pytest.mark.parametrize(
    ("reward", "words"),
    [
        ({"backend": "classifier", "model": "acme/rm"}, "the reward model `acme/rm`."),
        ({"backend": "server", "model": "/home/me/rm/"}, "the reward model `rm`, served by vLLM."),
        (
            {"backend": "pairwise", "model": "acme/pm"},
            "the pair-preference model `acme/pm`: the mean probability to win against the other answers.",
        ),
        (JUDGE, "the language model `gemini/x`, asked for a rating from 1 to 5."),
        (
            {"backend": "several", "rewards": [{"backend": "classifier", "model": "acme/rm"}, JUDGE]},
            "the mean of 2 rewards, each standardised by its mean and deviation in iteration 1: the reward model "
            "`acme/rm`; the language model `gemini/x`, asked for a rating from 1 to 5.",
        ),
    ],
)
def test_every_kind_of_reward_is_told_in_words(reward: dict[str, Any], words: str, tmp_path: Path) -> None:
    card = card_of(small_store(tmp_path / "small", settings={"reward": reward}))
    assert f"- **Score**: each answer is scored by {words}\n" in card


@pytest.mark.slow
def test_licence_and_contamination_are_said_as_they_are(tmp_path: Path) -> None:
    store = small_store(tmp_path / "plain")
    assert section(card_of(store), "Licence").startswith("**Not chosen yet.** ")
    assert "license:" not in card_of(store)
    assert "\nlicense: cc-by-4.0\n" in card_of(store, licence="cc-by-4.0")
    assert section(card_of(store, licence="cc-by-4.0"), "Licence").startswith("`cc-by-4.0`, chosen by ")
    assert section(card_of(store), "Contamination").startswith("Not checked: no benchmark was named")
    benchmarks = [{"name": "arena", "path": "arena.jsonl"}, {"name": "mt|bench", "path": "mt.jsonl"}]
    checked = small_store(tmp_path / "checked", settings={"evolve": {"benchmarks": benchmarks}})
    assert section(card_of(checked), "Contamination").strip() == (
        "Evolved prompts that share 13 words in a row with a prompt of `arena`, <code>mt&#124;bench</code> were "
        "eliminated: 1 of 3. The seeds were not checked."
    )


@pytest.mark.slow
def test_a_table_of_answers_without_a_single_pair_has_a_card_that_loads_its_prompts(tmp_path: Path) -> None:
    store = Store(tmp_path / "scored")
    settings = {"name": "scored", "solver": {"backend": "table", "dataset": "acme/answers", "reward": "score"}}
    config = parse_config(settings, "the test")
    prompts = frame([prompt("11", "Say ab.", source="acme/answers")], PROMPTS)
    responses = frame(answers("11", ("ab", 1.0), ("ba", 1.0), completion_tokens=None), RESPONSES)
    judged = outcome_of(config, 1, prompts, responses, n=2, on_policy=False)
    tables = {
        "prompts": prompts,
        "responses": responses,
        "informativeness": judged.informativeness,
        "preferences": judged.preferences,
        "evolutions": empty(EVOLUTIONS),
        "rejects": judged.rejects,
    }
    models = {"solver": "table:acme/answers", "creator": None, "reward": "table:score"}
    write(store, config, 1, tables, models=models)
    card = card_of(store)
    assert "| 1 | 1 | 0 % | 0 | none | unknown | $0.00 |\n" in card
    assert "## Train on it" not in card and "## Examples" not in card
    assert "- **Answers** of iteration 1 and their rewards existed already, in `acme/answers`. " in card
    write_card(store)
    (load,) = snippets(card)
    done = run(f"{load}\nprint(prompts[0]['prompt'])", tmp_path)
    assert done.stdout == "[{'role': 'user', 'content': 'Say ab.'}]\n", done.stderr


@pytest.mark.slow
def test_the_snippets_of_the_card_run(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    load, train = snippets((store.folder / "README.md").read_text())
    done = run(f"{load}\nprint(pairs[0]['chosen'], pairs[0]['score_chosen'])", tmp_path)
    assert done.stdout == "[{'role': 'assistant', 'content': 'good one'}] 0.9\n", done.stderr
    assert 'model="acme/base",' in train
    save_model(tmp_path / "acme" / "base")
    done = run(train, tmp_path, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert "train_loss" in done.stdout


def test_a_published_card_loads_its_own_tag_and_shows_the_plots_of_the_newest_iteration(tmp_path: Path) -> None:
    card = card_of(small_store(tmp_path / "small"), repo="acme/small", revision="iter-2")
    load, train = snippets(card)
    call = 'load_dataset("acme/small", "preferences", split="iter_2", revision="iter-2")'
    assert f"pairs = {call}\n" in load and f"pairs = {call}\n" in train
    assert "(`eva-data verify acme/small --iter 2`)" in card
    assert "(`eva-data pull acme/small --revision iter-2`)" in card
    assert re.findall(r"^!\[(.+)\]\((.+)\)$", card, re.MULTILINE) == [
        ("How every metric of informativeness is distributed over the prompts", "plots/metrics_iter_2.png"),
        ("How a_min and the variance of the rewards agree", "plots/agreement_iter_2.png"),
        ("Where the prompts that were drawn for evolving lie among all prompts", "plots/draw_iter_2.png"),
        ("How reward gaps and lengths change over the iterations", "plots/shift.png"),
        ("Which share each topic has in each iteration, and how diverse the prompts are", "plots/topics.png"),
        ("What became of the attempts of each strategy, and how informative its prompts are", "plots/yields.png"),
    ]


def test_a_published_card_tells_the_topics_and_raises_the_alarm_where_prompts_collapse(tmp_path: Path) -> None:
    store = small_store(tmp_path / "small")
    # Ten more seeds of ten kinds; then ten more prompts of other seeds, all of the same few words.
    kinds = ["apples", "ships", "rivers", "clocks", "engines", "poems", "bridges", "taxes", "violins", "volcanoes"]
    first = [prompt(f"{number:02}", f"Tell me about {kind}") for number, kind in enumerate(kinds)]
    second = [prompt(f"{number + 50:02}", "Tell me about |apples", iteration=2) for number in range(10)]
    for iteration, rows in ((1, first), (2, second)):
        table = pl.concat([store.scan("prompts", iteration).collect(), frame(rows, PROMPTS)])
        replace_table(store, "prompts", iteration, table.sort("prompt_id"))
    card = card_of(store, repo="acme/small", revision="iter-2")
    told = section(card, "In numbers").split("**What the prompts are about**")[1]
    assert told.startswith(": 25 of them, clustered by their words")
    assert "> **Alarm.** The prompts of iteration 2 are worth " in told
    # Ten of twelve, where no two of iteration 1 are.
    assert "> **Alarm.** 83 % of the prompts of iteration 2 are almost the same as one of another seed" in told
    assert "\n| 1 | 13 | none | 0 % |" in told and "\n| 2 | 12 | " in told
    assert "What the prompts are about" not in card_of(store)


def test_datasets_takes_the_columns_from_the_card(tmp_path: Path) -> None:
    from datasets import List, Value, load_dataset, load_dataset_builder

    store = small_store(tmp_path / "small")
    kinds = {pl.String: "string", pl.Int32: "int32", pl.Float64: "float64", pl.Boolean: "bool"}
    turn = {"role": Value("string"), "content": Value("string")}
    for name in BUILT:
        schema = TABLES[name]
        builder = load_dataset_builder(str(store.folder), name, cache_dir=str(tmp_path / "cache"))
        assert builder.info.features == {
            column: List(turn) if isinstance(dtype, pl.List) else Value(kinds[type(dtype)])
            for column, dtype in schema.items()
        }
        loaded = load_dataset(str(store.folder), name, cache_dir=str(tmp_path / "cache"))
        assert {f"{split}": len(rows) for split, rows in loaded.items()} == {
            f"iter_{iteration}": store.scan(name, iteration).collect().height
            for iteration in (1, 2)
            if f"{name}/iter_{iteration}.parquet" in store.manifest(iteration).files
        }


BUILT = [name for name in TABLES if name not in ("reviews", "topics", "comparisons")]
"""The tables of a dataset that nobody has reviewed, and that was not drawn by topic."""

HOSTILE = [
    "---\nlicense: mit\n---\n# Not a heading",
    "```\n## Fence\n```\n~~~",
    "| a | b |\n|---|---|\n| c | d |",
    "</td></tr></table><script>alert(1)</script><!-- <img src=x onerror=y>",
    "`one` ``two`` ```three `",
    "{{ 7 * 7 }} {% raw %} {# no #}",
    "![x](http://a.b) [y]: /z <http://c.d> http://e.f www.g.h me@i.j",
    "&lt;b&gt; &#124; \\| \\` \\\\ $$x$$ \\(y\\)",
    "\u202egnp.exe \x00\x1b[31m \ufeff \u2028 \r\n\r\n end",
    "x" * 100_000,
    "- item\n1. item\n# head\n> quote\n    code\n***\n",
    "name: &anchor *alias !!python/object {a: b}",
    "👩‍👩‍👧 العربية 漢字 " + "́" * 50,
    " \n\t ",
]


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_no_text_of_the_data_breaks_the_card(text: str, tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    seed, evolved, chosen, rejected = (f"{text}{number}" for number in range(4))
    store = small_store(
        tmp_path / "small",
        seed=seed,
        evolved=evolved,
        chosen=chosen,
        rejected=rejected,
        mutation=text,
        settings={"name": text},
    )
    card = card_of(store)
    tokens = MARKDOWN.parse(body(card))
    headings = [shown(tokens[place + 1]) for place, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[1:] == HEADINGS[1:]
    assert {part.content for token in tokens for part in token.children or () if part.type == "html_inline"} <= {
        "<br>",
        "<code>",
        "</code>",
    }
    assert not [token for token in tokens if token.type == "html_block"]
    data = DatasetCard(card).data.to_dict()
    assert data["pretty_name"] == text
    assert "license" not in data
    assert [config["config_name"] for config in data["configs"]] == BUILT
    example = cells(section(card, "Examples"))
    assert [len(row) for row in example] == [2] * 6
    assert example[1] == ["seed", visible(seed)]
    assert [row[1] for row in example[3:]] == [visible(other) for other in (evolved, chosen, rejected)]


def visible(text: str) -> str:
    """The text that `prose` promises to show."""
    text = text.strip()
    if not text:
        return "(empty)"
    lines = re.split("\r\n|[\n\r\v\f\x85\u2028\u2029]", text[:LONGEST])
    note = f" … (cut; {len(text):,} characters in all)" if len(text) > LONGEST or len(lines) > LINES else ""
    text = re.sub(r"[^\S\n]+$", "", "\n".join(lines[:LINES])).replace("\t", " ")
    turned = "[\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
    return re.sub(turned, lambda found: f"\\u{ord(found[0]):04x}", text) + note


@given(
    st.text(st.characters(exclude_categories=["Cs"])) | st.text("`|<>&\\*_[]()!#-=~$:;/.w@ \n\r\tab1\u202e", min_size=1)
)
def test_prose_shows_any_text_in_one_cell_as_it_is(text: str) -> None:
    row = f"| {prose(text)} | {prose(text)} |"
    assert "\n" not in row
    assert cells(f"| a | b |\n|---|---|\n{row}") == [["a", "b"], [visible(text)] * 2]


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_code_can_stand_in_a_table_with_any_name(text: str) -> None:
    assert len(cells(f"| a | b |\n|---|---|\n| {code(text)} | x |")[1]) == 2


def test_names_are_code_and_long_texts_are_cut() -> None:
    assert code("org/name@0123") == "`org/name@0123`"
    assert code("a|b`c") == "<code>a&#124;b&#96;c</code>"
    assert prose("x" * (LONGEST + 1)) == "x" * LONGEST + " *… (cut; 601 characters in all)*"
    assert prose("two\r\nlines") == "two<br>lines"
    assert prose("x\n" * (LINES + 1)) == "x<br>" * (LINES - 1) + "x *… (cut; 21 characters in all)*"
    assert prose("") == "*(empty)*"


def test_a_licence_is_what_a_models_own_card_states_and_nothing_else(tmp_path: Path) -> None:
    assert stated_licence(SANDBOX_MODEL) == "apache-2.0"
    assert stated_licence(tmp_path) is None
    assert stated_licence(None) is None
    for front, expected in (
        ("---\nlicense: other\nlicense_name: gemma-terms\n---\n", "gemma-terms"),
        ("---\nlicense: [mit, apache-2.0]\n---\n", "mit, apache-2.0"),
        ("---\r\nlicense: mit\r\n---\r\n", "mit"),
        ("---\nlicense: unknown\n---\n", None),
        ("---\ntags: [x]\n---\n", None),
        ("---\n- a\n---\n", None),
        ("---\nlicense: [\n---\n", None),
        ("license: mit\n", None),
    ):
        (tmp_path / "README.md").write_text(front, newline="")
        assert stated_licence(tmp_path) == expected


def test_the_card_of_a_folder_needs_no_matplotlib() -> None:
    code = "import sys, eva_data.report.card, eva_data.dataset.store; print('matplotlib' in sys.modules)"
    done = run(code, CHECKOUT)
    assert (done.stdout, done.stderr) == ("False\n", "")
