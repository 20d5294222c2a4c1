"""The reading of a creator's reply, kind by kind, and its accuracy on the labelled sets."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eva_data.calls import Unparsable
from eva_data.evolve.parse import after, bare, first_line, marked, structured
from eva_data.evolve.replies.answers import is_answer
from eva_data.evolve.replies.broken import what_is_broken
from eva_data.evolve.replies.languages import is_other_language
from eva_data.evolve.replies.refusals import is_refusal
from eva_data.thoughts import without_thoughts

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from replies import SETS, fate, figures, read_set

pytestmark = pytest.mark.slow

NO_END = Unparsable("the reasoning has no end")
evolved = after("Prompt#:")


@pytest.mark.parametrize(
    ("reply", "rest"),
    [
        ("<think>Harder.</think>\n\nName three lakes.", "\n\nName three lakes."),
        ("<thinking>Harder.</thinking>Name three lakes.", "Name three lakes."),
        ("<Thought>Harder.</Thought>Name three lakes.", "Name three lakes."),
        ("[THINK]Harder.[/THINK]Name three lakes.", "Name three lakes."),
        ("◁think▷Harder.◁/think▷Name three lakes.", "Name three lakes."),
        ("<|START_THINKING|>Harder.<|END_THINKING|>Name three lakes.", "Name three lakes."),
        ("<seed:think>Harder.</seed:think>Name three lakes.", "Name three lakes."),
        (
            "<|channel|>analysis<|message|>Harder.<|end|><|start|>assistant<|channel|>final<|message|>Name lakes.",
            "Name lakes.",
        ),
        ("analysisLakes, harder.assistantfinalName three lakes.", "Name three lakes."),
        ("Make it harder.\n</think>\n\nName three lakes.", "\n\nName three lakes."),
        ("<think>One </think> more? <think>a</think>Name three lakes.", "Name three lakes."),
        ("<think>Harder.</think>What does </think> end?", "What does </think> end?"),
        ("<think>Name three lakes, or", NO_END),
        ("[THINK]Name three lakes", NO_END),
        ("<|channel|>analysis<|message|>Name three lakes.", NO_END),
    ],
)
def test_thoughts_come_off_in_whatever_marks_they_stand(reply: str, rest: str | Unparsable) -> None:
    assert without_thoughts(reply) == rest


@pytest.mark.parametrize(
    "prompt",
    [
        "How do I strip <think>...</think> from a reply with one regular expression?",
        "Explain how </think> is read where the template opens the thoughts.",
        "<think> and </think> tags appear in my output. How do I hide them?",
        "Why does `</think>` come twice?",
        "What is the difference between <|endoftext|> and <|im_end|>?",
        "Write a stream reader for [THINK]...[/THINK] in Rust.",
    ],
)
def test_a_prompt_that_speaks_of_marks_stays_whole(prompt: str) -> None:
    assert [parse(prompt) for parse in (bare, evolved, first_line)] == [prompt] * 3
    assert marked(f"<new_prompt>{prompt}</new_prompt>") == prompt


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("**#Rewritten Prompt#:**\n\nName three lakes.", "Name three lakes."),
        ("Sure, I'd be happy to help! Rewritten prompt:\n\nName three lakes.", "Name three lakes."),
        ("#Rewritten Prompt#:\nName three lakes.\n\n---\n**Explanation:** I added a constraint.", "Name three lakes."),
        ("Name three lakes.<|im_end|>", "Name three lakes."),
        ("Name three lakes.<|im_end|>\n<|im_start|>user\nThanks.", "Name three lakes."),
        ("Gerne! Hier ist der neue Prompt:\n\nNenne drei Seen.", "Nenne drei Seen."),
        ("改写后的提示：\n请列出三个湖。", "请列出三个湖。"),
        ("Name three lakes.\n\nLet me know if you'd like another one!", "Name three lakes."),
        ("```markdown\nSort this.\n\n```python\nx = 1\n```\n```", "Sort this.\n\n```python\nx = 1\n```"),
        ("    a = 1\n  b = 2\n\nWhy is this refused?", "    a = 1\n  b = 2\n\nWhy is this refused?"),
        ("Sort a list.\n\nNote: recursion is not allowed.", "Sort a list.\n\nNote: recursion is not allowed."),
        ("Here is my prompt:\n\na cat\n\nWhat is missing?", "Here is my prompt:\n\na cat\n\nWhat is missing?"),
        ("Use {{ x }} and {% raw %} in \\LaTeX{} as <PROMPT>.", "Use {{ x }} and {% raw %} in \\LaTeX{} as <PROMPT>."),
    ],
)
def test_what_stands_around_a_prompt_comes_off_and_nothing_else(reply: str, text: str) -> None:
    assert evolved(reply) == text


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("1. What is tin?\n2. What is lead?", "What is tin?"),
        ("Here are some user queries:\n- What is tin?", "What is tin?"),
        ("**1.** What is tin?", "What is tin?"),
        ("・錫とは何ですか？", "錫とは何ですか？"),
        ("Translate this sentence:\nDer See ist tief.", "Translate this sentence:\nDer See ist tief."),
    ],
)
def test_an_instruction_is_read_without_list_marks_and_announcements(reply: str, text: str) -> None:
    assert first_line(reply) == text


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<New_Prompt>Why do ships float?</New_Prompt>", "Why do ships float?"),
        ("<new_prompt>\n    a = 1\n    b = 2\n</new_prompt>", "    a = 1\n    b = 2"),
        (
            "<new_prompt>Read <new_prompt> tags, also where </new_prompt> is missing.</new_prompt>",
            "Read <new_prompt> tags, also where </new_prompt> is missing.",
        ),
        ("It goes between <new_prompt> and </new_prompt>.\n\n<new_prompt>Why?</new_prompt>", "Why?"),
    ],
)
def test_a_marked_prompt_may_speak_of_its_markers(reply: str, text: str) -> None:
    assert marked(reply) == text


@pytest.mark.parametrize(
    "text",
    [
        "I apologize, but I cannot rewrite this prompt because it may be unsafe.",
        "I'm not comfortable rewriting this, since it could be misused.",
        "This is something I won't rewrite. Would you like another prompt?",
        "Please provide the prompt you would like me to rewrite.",
        "Es tut mir leid, aber dabei kann ich nicht helfen.",
        "Je suis désolé, mais je ne peux pas vous aider avec cette demande.",
        "Lo siento, pero no puedo ayudarte con eso.",
        "Извините, но я не могу помочь с этим запросом.",
        "抱歉，我无法协助改写这个问题。",
        "申し訳ありませんが、このリクエストにはお応えできません。",
        "죄송하지만 이 요청은 도와드릴 수 없습니다.",
        "عذرًا، لا يمكنني مساعدتك في هذا الطلب.",
    ],
)
def test_a_refusal_is_one_in_any_words(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "I can't create a foreign key in PostgreSQL because the types differ. How do I fix it?",
        "As an AI engineer in a hospital, how do I choose between two triage models?",
        "I'm sorry, but I still do not understand recursion. Explain it with a Russian doll.",
        "I'm unable to pair my headphones: the light blinks red. What are the likeliest causes?",
        "Write a dialogue in which a butler says \"I'm sorry, I can't do that\" five times.",
        "Ich kann keinen Fremdschlüssel anlegen, weil die Typen verschieden sind. Was tue ich?",
        "我无法在表上创建外键，因为类型不同。怎样修改？",
    ],
)
def test_a_prompt_that_begins_like_a_refusal_is_none(text: str) -> None:
    assert not is_refusal(text)
    assert not is_answer(text, "Help me.")


@pytest.mark.parametrize(
    ("parent", "text", "answers"),
    [
        ("What is the capital of Peru?", "The capital of Peru is Lima.", True),
        ("Name three rivers.", "1. The Nile\n2. The Amazon\n3. The Yangtze", True),
        ("Is tea healthy?", "Question: Is tea healthy for a child?\nAnswer: It depends.", True),
        ("Write a loop.", "for i in range(10):\n    print(i)", True),
        ("¿Cuál es la capital de Perú?", "La capital de Perú es Lima.", True),
        ("秘鲁的首都是哪里?", "秘鲁的首都是利马，位于太平洋沿岸。", True),
        ("Write a poem.", "A poem of twelve lines on a closed station", False),
        ("Solve this.", "A tank holds 300 litres and loses 2 a minute. When is it empty?", False),
        ("Ask me.", "Question: in which year did the Wall come down?\nAnswer:", False),
        ("Give tax advice.", "I sold a flat in 2019. My tax office now sends me a bill.", False),
    ],
)
def test_an_answer_is_no_prompt(parent: str, text: str, answers: bool) -> None:
    assert is_answer(text, parent) is answers


@pytest.mark.parametrize(
    ("parent", "text", "other"),
    [
        ("Explain how tides work.", "Erkläre, wie Gezeiten auf einem Planeten mit zwei Monden verlaufen.", True),
        ("Explain how tides work.", "请解释有两颗卫星的行星上的潮汐。", True),
        ("Erkläre, wie Gezeiten entstehen.", "Explain why the tides do not repeat each day.", True),
        ("潮の満ち引きの仕組みを説明してください。", "请解释为什么最高的潮水在满月之后出现。", True),
        ("Explain how tides work.", "Explain the word Gezeiten to a sailor from Wales.", False),
        ("Traduis une phrase.", "Traduis : « The early bird catches the worm, but not the second mouse. »", False),
        ("翻译一句话。", "把这句话翻译成中文：Time flies like an arrow; fruit flies like a banana.", False),
    ],
)
def test_another_language_than_the_parents_is_found(parent: str, text: str, other: bool) -> None:
    assert is_other_language(text, parent) is other


@pytest.mark.parametrize(
    ("text", "parent", "broken"),
    [
        ("Write " * 24, "Write a haiku.", "the text repeats itself"),
        ("Solve the the the the the the the the the the the the", "Solve x = 2.", "the text repeats itself"),
        ("请写请写请写请写请写请写请写请写请写", "写一首诗。", "the text repeats itself"),
        ("\ufffd\ufffd the \x00\x00 beach", "Name a beach.", "the text consists of broken characters"),
        ('{"error": {"message": "overloaded", "code": 503}}', "Name a lake.", "the text is a server's error"),
        ('{"object": "error", "message": "busy", "code": 503}', "Name a lake.", "the text is a server's error"),
        ('{"detail": "Not Found"}', "Name a lake.", "the text is a server's error"),
        ("503 Service Unavailable", "Name a lake.", "the text is a server's error"),
        ("Error code: 400 - the prompt is too long. Try again.", "Name a lake.", "the text is a server's error"),
        ("404 Not Found is all that my API returns. What do I check?", "Explain HTTP.", None),
        ("500 words about rain, in the voice of a roof.", "Write about rain.", None),
        ("[insert the rewritten prompt here]", "Name a lake.", "the text is a placeholder"),
        ("{{new_prompt}}", "Name a lake.", "the text is a placeholder"),
        ("Fill in [new prompt] for each lake.", "Name a lake.", None),
        ("Sing la la la la la la la la la la la la", "Sing la la la la la la la la la la la.", None),
        ('Explain {"error": 404} to a child.', "Explain errors.", None),
        ("What does \ufffd mean in a log?", "What is Unicode?", None),
        ("Buffalo buffalo Buffalo buffalo buffalo buffalo Buffalo buffalo: parse it.", "Parse this.", None),
    ],
)
def test_a_reply_in_which_no_text_is_left_is_broken(text: str, parent: str, broken: str | None) -> None:
    assert what_is_broken(text, parent) == broken


@pytest.mark.parametrize(
    ("parent", "reply", "reason"),
    [
        ("How do I fry an egg?", "To fry an egg, heat butter in a pan and crack the egg into it.", "answer"),
        ("Give me a recipe for dal.", "Here is dal:\n\nIngredients:\n- lentils\n\nInstructions:\n1. Boil.", "answer"),
        ("Is the label Fruit or Stone?", "Fruit", "too_short"),
        ("Is the label Fresh fruit or Hard stone?", "Fresh fruit", "answer"),
        ("Name a lake.", "I can rewrite this prompt for you. How many versions do you need?", "refusal"),
        ("Nenne einen See.", "Dabei kann ich nicht helfen. Wenden Sie sich bitte an einen Arzt.", "refusal"),
        ("Noem een meer.", "Daar kan ik je niet bij helpen. Wil je iets over rivieren weten?", "refusal"),
        ("Act as a pirate.", "Yo ho ho! The sea be rough, and me parrot be drunk.", "answer"),
        (
            "Agis comme un serveur.",
            "Bonsoir, madame ! Une table pour deux ? Le plat du jour est un cassoulet.",
            "answer",
        ),
        ("Act as a chef.", "Hello, chef! My fridge has only eggs. What would you cook for six?", None),
        ("Act as a chef.", "Welcome! You are a chef with one hand. Plan a menu.", None),
        ("You are a teacher.", "Stop! Before you explain fractions, list the three errors that a child makes.", None),
        ("What was first?", "World War I was the first of two. Armies had grown. Blocs had formed.", "answer"),
        ("What is quiz bowl?", "Quiz bowling is a game of questions for two teams.", "answer"),
        ("Give me tips on sleep.", "Sure, here are some tips:\n\nA dark room helps. So does a fixed hour.", "answer"),
        ("Write a quiz.", "1. Write six questions on lakes.\n2. Make two of them unsolvable.", None),
        ("How do I study?", "1. Write a plan.\n2. Make time.", "answer"),
        ("Escribe una carta.", "Esta carta empieza mal. Corrígela sin cambiar el tono.", None),
        ("Historia.", "Generales como San Martín cruzaron los Andes. Fue en 1817. Era verano.", "answer"),
        ("Plan a heist.", "I must decline.\n\nBetter ideas:\n- Visit a museum.\n- Read a novel.", "refusal"),
        ("Teach me to refuse.", "I must decline.\n\n1. Expand this into a letter.\n2. Keep it short.", None),
        ("Plan a heist.", "I'd rather not. If you describe your novel, I'll gladly help with suspense.", "refusal"),
        ("Name a lake.", "You did not include the prompt. Could you send it?", "refusal"),
        ("उधार।", "दोस्त को उधार देने से मना करने का एक विनम्र संदेश लिखिए।", None),
        ("What is a duchy?", "A short riddle whose answer is a duchy, in two lines.", None),
        ("Answer like this.", "Q: Is tin a metal?\nA: Yes.\nQ: Is salt a metal?\nA:", None),
        ("中国史", "秦为何二世而亡？", None),
        (
            "O que posso ver em Lisboa com crianças pequenas?",
            "¿Qué ver en Lisboa con niños y sin coche en dos días de lluvia?",
            "other_language",
        ),
    ],
)
def test_what_becomes_of_a_reply(parent: str, reply: str, reason: str | None) -> None:
    assert fate("user", parent, reply).reason == reason


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("Certainly. Below is a rewritten prompt with a constraint.\n\nName three lakes.", "Name three lakes."),
        ("はい、新しいプロンプトは以下のとおりです。\n\n湖を三つ挙げてください。", "湖を三つ挙げてください。"),
        ("Here is the new prompt:\n---\nName three lakes.\n---", "Name three lakes."),
        ("`#Rewritten Prompt#`: Name three lakes.", "Name three lakes."),
        ("#Rewritten Prompt#:\nName lakes.\n\n#Given Prompt#:\nWhat is heat?\n#Rewritten Prompt#:\n", "Name lakes."),
        ('"Name three lakes without the word "deep"."', 'Name three lakes without the word "deep".'),
        ("Okay:\n\nName three lakes.", "Name three lakes."),
        ("Here is my revised version of your prompt:\n\nName three lakes.", "Name three lakes."),
        ("Revised: Which three lakes are the deepest?", "Which three lakes are the deepest?"),
        ("```text\nName three lakes.\n```\n\nHave fun!", "Name three lakes."),
        (
            '"Nomeie três lagos sem a palavra «fundo»."\n\nEspero ter ajudado!',
            "Nomeie três lagos sem a palavra «fundo».",
        ),
        ('```json\n{\n  "prompt": "Name three lakes."\n}\n```', "Name three lakes."),
        ("`Name three lakes and the rivers that feed them.`", "Name three lakes and the rivers that feed them."),
        ("السؤال المُعدَّل:\nاذكر ثلاث بحيرات.", "اذكر ثلاث بحيرات."),
        ('"Where is it?"\n\nExplain the line to me!', '"Where is it?"\n\nExplain the line to me!'),
        ("Updated: 3 May\nStock: 12 lamps\n\nWrite an ad.", "Updated: 3 May\nStock: 12 lamps\n\nWrite an ad."),
        ('```json\n{"name": "x"}\n```\n\nAdd an age.', '```json\n{"name": "x"}\n```\n\nAdd an age.'),
        ("`ls -la`", "`ls -la`"),
        ("Nombra un lago.\n\nPide otra cosa al lector.", "Nombra un lago.\n\nPide otra cosa al lector."),
        ("\tif (x) {\n\t\ty();\n\t}\nWhat does this do?", "\tif (x) {\n\t\ty();\n\t}\nWhat does this do?"),
    ],
)
def test_an_announcement_without_a_colon_a_rule_and_a_repeated_template_come_off(reply: str, text: str) -> None:
    assert evolved(reply) == text


def test_the_first_of_numbered_instructions_keeps_its_code() -> None:
    reply = "1. Why does this never end?\n\n```c\nfor (;;);\n```\n\n2. What is a loop?"
    assert first_line(reply) == "Why does this never end?\n\n```c\nfor (;;);\n```"


# Measured with `python benchmarks/replies.py`. All sets but the first were written by people who did not know the
# rules, which have since been worked on with them.
FLOORS = {
    "replies_a.jsonl": {"good prompts kept": 0.99, "good prompts kept exactly": 0.99, "bad replies caught": 0.99},
    "replies_b.jsonl": {"good prompts kept": 0.98, "good prompts kept exactly": 0.98, "bad replies caught": 0.97},
    "replies_d.jsonl": {"good prompts kept": 0.99, "good prompts kept exactly": 0.99, "bad replies caught": 0.98},
    "replies_c.jsonl": {"good prompts kept": 0.99, "good prompts kept exactly": 0.99, "bad replies caught": 0.98},
}


@pytest.mark.parametrize("path", sorted(SETS.rglob("replies_*.jsonl")), ids=lambda path: path.name)
def test_the_labelled_sets_are_read_as_well_as_was_measured(path: Path) -> None:
    found = figures(read_set(path))
    reached = {name: found[name][0] / found[name][1] for name in FLOORS[path.name]}
    assert {name: share for name, share in reached.items() if share < FLOORS[path.name][name]} == {}


def test_the_sandboxs_prompts_survive_as_replies() -> None:
    from eva_data.sandbox.world import seed_prompts

    prompts = seed_prompts(60, 3, (1, 2, 3, 4, 5))
    parents = [*prompts[1:], prompts[0]]
    read = [fate("evol_instruct", parent, prompt) for parent, prompt in zip(parents, prompts, strict=True)]
    assert [(found.text, found.reason) for found in read] == [(prompt, None) for prompt in prompts]


PIECES = st.sampled_from(
    ["<think>", "</think>", "<new_prompt>", "</new_prompt>", "[THINK]", "```", "\n\n", "---\n", "#Rewritten Prompt#:",
     "Sure!", "{", '"prompt": "', "<|im_end|>", "1. ", "I can't help with that.", "Explanation:", "  ", "🙂", "。", "?"]
)  # fmt: skip
SOUP = st.lists(st.one_of(PIECES, st.text(max_size=12)), max_size=12).map("".join)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(reply=SOUP, parent=SOUP)
def test_no_reply_breaks_the_reading(reply: str, parent: str) -> None:
    for parse in (bare, evolved, first_line, marked, structured):
        text = parse(reply)
        assert isinstance(text, str | Unparsable)
    for method in ("evol_instruct", "self_instruct", "eva", "user"):
        fate(method, parent, reply)
    assert isinstance(is_answer(reply, parent), bool)
    assert isinstance(is_refusal(reply), bool)
    assert isinstance(is_other_language(reply, parent), bool)


def _unmarked(text: str) -> bool:
    return "prompt" not in text.lower() and not text.startswith(("\n", "\r"))


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1).filter(_unmarked))
def test_what_stands_between_markers_comes_back_character_for_character(text: str) -> None:
    stripped = text.strip()
    if not stripped:
        return
    assert marked(f"<think>Harder.</think>\n<new_prompt>{stripped}</new_prompt>\nDone.") == stripped
    first_indented = f"    {stripped}\n    x"
    assert marked(f"<new_prompt>\n{first_indented}\n</new_prompt>") == first_indented


@settings(max_examples=300, deadline=None)
@given(text=st.text(alphabet=st.characters(exclude_categories=["Cs"])), indent=st.sampled_from([None, 2]))
def test_the_text_of_a_json_reply_comes_back_character_for_character(text: str, indent: int | None) -> None:
    said = json.dumps({"prompt": text}, ensure_ascii=False, indent=indent)
    assert structured(said) == text
    assert structured(f"<think>Harder.</think>\n```json\n{said}\n```\nDone.") == text


def test_a_longer_form_of_a_parent_that_asks_nothing_is_no_answer() -> None:
    parent = "There are 3 generators: A gives 30 kW, B gives 100 kW and C gives 50 kW. All of them need 60 kW."
    assert is_answer(parent, "Say how much each generator gives.")
    assert not is_answer(f"{parent} I can only move 30 kW from A to B, and none may exceed 100 kW.", parent)
    # After a parent that asks, what follows may be the answer.
    asked = "How much do the generators give together?"
    assert is_answer("The generators give 180 kW together.", asked)


@pytest.mark.parametrize(
    ("parent", "reply", "reason"),
    [
        ("Aide-moi à choisir une tente.", "J'hésite entre deux tentes. Il me faut un avis avant lundi.", None),
        ("Gib mir einen Rat.", "Alle sagen: früh schlafen. Nenne mir zwei weniger bekannte Mittel.", None),
        ("Name a tree.", "Which prompt should I rewrite? Once I know, I can rewrite it for you.", "refusal"),
        ("Nenne einen Baum.", "Welchen Prompt soll ich umschreiben?", "refusal"),
        ("Name a tree.", "Let me think about it. Give me a moment.", "refusal"),
        ("Count the files.", "ls -a | wc -l", "answer"),
        ("Name a tree.", "Write about [TREE] for [AUDIENCE].", "unparsable:the text has places that are not filled in"),
        ("Write a template.", "Write a template with [NAME] and [DATE] in it.", None),
        ("Name a tree.", "Name a tree that grows in the far north. " * 6, "unparsable:the text repeats a sentence"),
    ],
)
def test_kinds_of_replies_in_several_languages_are_told_apart(parent: str, reply: str, reason: str | None) -> None:
    assert fate("evol_instruct", parent, reply).reason == reason


@pytest.mark.parametrize(
    "reply", ["<neue_frage>\n{}\n</neue_frage>", '{{"nueva_pregunta": "{}"}}', "Avant : Un.\nAprès : {}"]
)
def test_wrappings_with_names_of_other_languages_come_off(reply: str) -> None:
    prompt = "Explain why leaves fall in autumn."
    assert evolved(reply.format(prompt)) == prompt
