from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ragkit.citations import Checked, check
from ragkit.schema import Hit

LEAVE = "病假须有医院证明。员工工作满一年的，年假为10天。员工工作满十年的，年假为15天。其他事项另行通知。"
DOGS = "Dogs bark at night. Cats sleep all day long. Dogs do not like water."


def hit(text: str, start: int = 0, heading: tuple[str, ...] = ("H",)) -> Hit:
    return Hit(1, 7, "docs/a.md", 3, heading, start, start + len(text), text, 1.0, 1.0, None)


def unsupported(checked: Checked) -> list[str]:
    return [checked.text[start:end] for start, end in checked.unsupported]


def test_a_citation_knows_its_sentence_its_source_and_the_words_they_share() -> None:
    passage = hit("病假须有证明。满十年的员工有十天年假。其他事项另行通知。", start=100)
    checked = check("你好！满十年的员工年假为十天[1]。", [passage])
    (citation,) = checked.citations
    assert citation.quote == "满十年的员工有十天年假。"
    assert (citation.start, citation.end) == (107, 119)
    assert (citation.number, citation.source, citation.page, citation.heading) == (1, "docs/a.md", 3, ("H",))
    assert citation.at is not None
    assert checked.text[slice(*citation.at)] == "满十年的员工年假为十天[1]。"
    words = [passage.text[start - 100 : end - 100] for start, end in citation.words]
    assert words == ["满十年的员工", "十天年假"]


@pytest.mark.parametrize(
    ("answer", "numbered"),
    [
        ("员工满一年有10天年假。病假须有证明。", "员工满一年有10天年假。 [1]病假须有证明。 [1]"),
        ("Cats sleep all day long. So do lions.", "Cats sleep all day long. [2] So do lions."),
        (
            "- Dogs bark at night\n- Cats sleep all day\n",
            "- Dogs bark at night [2]\n- Cats sleep all day [2]\n",
        ),
        (
            "| who | what |\n|---|---|\n| Dogs | bark at night |",
            "| who | what |\n|---|---|\n| Dogs | bark at night [2] |",
        ),
        ("**Dogs bark at night.** Yes.", "**Dogs bark at night.** [2] Yes."),
    ],
)
def test_a_supported_sentence_without_a_number_gets_it(answer: str, numbered: str) -> None:
    assert check(answer, [hit(LEAVE), hit(DOGS)]).text == numbered


@pytest.mark.parametrize(
    ("answer", "numbered"),
    [
        ("病假须有医院证明[2]。", "病假须有医院证明。 [1]"),
        ("病假须有医院证明[1][2]。", "病假须有医院证明[1]。"),
        (
            "Dogs bark at night. [1] [2] Cats sleep all day [2].",
            "Dogs bark at night. [2] Cats sleep all day [2].",
        ),
        ("Penguins of Madagascar can fly [2].", "Penguins of Madagascar can fly."),
    ],
)
def test_a_number_whose_passage_does_not_say_so_moves_or_goes(answer: str, numbered: str) -> None:
    assert check(answer, [hit(LEAVE), hit(DOGS)]).text == numbered


def test_of_two_passages_that_say_the_same_the_one_that_the_model_named_is_kept() -> None:
    checked = check("Dogs bark at night [2].", [hit(DOGS), hit(DOGS)])
    assert [citation.number for citation in checked.citations] == [2]


def test_a_sentence_may_rest_on_two_passages() -> None:
    checked = check(
        "The pump needs a new filter, and the kettle needs descaling powder.",
        [hit("Every year the pump needs a new filter."), hit("The kettle needs descaling powder.")],
    )
    assert checked.text.endswith("[1][2]") and not checked.unsupported


@pytest.mark.parametrize(
    "answer",
    [
        "员工工作满一年的，年假为15天[1]。",
        "员工工作满十年的，年假为20天。",
        "病假不须有医院证明[1]。",
        "Dogs like water.",
        "Dogs bark at night for 3 hours.",
        "公司食堂每天供应免费的晚餐[1]。",
    ],
)
def test_another_figure_a_denial_and_an_invention_are_not_supported(answer: str) -> None:
    checked = check(answer, [hit(LEAVE), hit(DOGS)])
    assert unsupported(checked) == [checked.text]
    assert checked.citations == () and "[" not in checked.text


@pytest.mark.parametrize("answer", ["年假为十天。", "员工满10年，年假为十五天。", "Cats do sleep all day."])
def test_figures_are_the_same_in_digits_and_in_words(answer: str) -> None:
    assert not check(answer, [hit(LEAVE), hit(DOGS)]).unsupported


@pytest.mark.parametrize(
    "answer",
    [
        "你好！",
        "总之，",
        "以下是年假的具体规定：",
        "您想了解哪一种假期？",
        "资料中没有找到答案。",
        "如果您还有其他问题，请随时告诉我。",
        "## 关于年假的规定",
        "**结论**",
        "Sure!",
        "In summary:",
        "Which animal do you mean?",
        "The sources do not answer this.",
        "Let me know if you need anything else.",
    ],
)
def test_what_states_nothing_is_left_alone(answer: str) -> None:
    assert check(answer, [hit(LEAVE)]) == Checked(answer, (), ())


def test_code_is_matched_whole_and_never_broken() -> None:
    code = "```bash\npip install xtuner\n```"
    passage = hit("Install it:\n\n```bash\npip install xtuner\n```\n")
    checked = check(f"Run:\n{code}\n", [passage])
    assert checked.text == f"Run:\n{code}\n" and [c.number for c in checked.citations] == [1]
    wrong = check("```bash\nrm -rf everything\n```", [passage])
    assert wrong.text == "```bash\nrm -rf everything\n```" and len(wrong.unsupported) == 1


def test_only_the_cut_sentence_of_a_stopped_answer_is_not_judged() -> None:
    answer = "公司食堂供应免费晚餐。另外公司还为"
    assert unsupported(check(answer, [hit(LEAVE)], cut=True)) == ["公司食堂供应免费晚餐。"]
    assert len(check(answer, [hit(LEAVE)]).unsupported) == 2


def test_a_sentence_in_a_language_that_no_passage_speaks_cannot_be_judged() -> None:
    checked = check("狗在夜里叫[1]。", [hit(DOGS)])
    assert checked.text == "狗在夜里叫[1]。" and not checked.unsupported


def test_what_is_said_in_other_words_is_found_by_its_meaning() -> None:
    answer, passages = (
        "Dogs make noise after dark.",
        [hit("At night the dogs always bark loudly, noise included.")],
    )
    assert check(answer, passages).unsupported

    def alike(texts: object) -> np.ndarray:
        return np.ones((len(texts), 1), np.float32)  # type: ignore[arg-type]

    assert [c.number for c in check(answer, passages, embed=alike).citations] == [1]
    assert check("Dogs make noise 5 times.", passages, embed=alike).unsupported, "a figure is never alike"
    assert check(answer, passages, embed=lambda texts: None).unsupported


ANSWERS = [
    "病假须有医院证明",
    "。",
    "[1]",
    "[2]",
    " ",
    "\n",
    "年假为15天",
    "Dogs bark at night",
    ". ",
    "| a ",
    "|",
    "**",
    "```\n",
    "：",
    "食堂免费",
]


@given(st.lists(st.sampled_from(ANSWERS), max_size=14))
def test_nothing_but_numbers_is_changed_and_every_place_is_within_the_text(parts: list[str]) -> None:
    answer = "".join(parts)
    checked = check(answer, [hit(LEAVE), hit(DOGS)])

    def bare(text: str) -> str:
        return "".join(text.replace("[1]", "").replace("[2]", "").split())

    assert bare(checked.text) == bare(answer)
    for start, end in [*checked.unsupported, *(c.at for c in checked.citations if c.at)]:
        assert 0 <= start < end <= len(checked.text)


def test_a_second_check_changes_nothing() -> None:
    answer = "员工满一年有10天年假。病假须有证明[2]。\n\n- Dogs bark at night. [1]\n"
    once = check(answer, [hit(LEAVE), hit(DOGS)])
    assert check(once.text, [hit(LEAVE), hit(DOGS)]).text == once.text
