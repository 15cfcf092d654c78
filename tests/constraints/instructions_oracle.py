"""Instructions against the rules of IFEval (arXiv 2311.07911), written here a second time with Python's regular
expressions, on many texts made of the pieces that matter to them. Sentences, capital words and languages, where rluf has
rules of its own, are in instructions_test.cpp."""
import json
import os
import pathlib
import random
import re
import subprocess
import tempfile

build = pathlib.Path(os.environ["RLUF_BUILD"])
rng = random.Random(7)


def related(found, number, relation):
    return found < number if relation == "less than" else found >= number


def marked(text):
    single = [m for m in re.findall(r"\*([^\n*]*)\*", text) if m.strip()]
    double = [m for m in re.findall(r"\*\*([^\n*]*)\*\*", text) if m.strip()]
    return len(single) + len(double)


def parts(text, separator):
    """Parts between separators, or nothing where one in the middle is blank."""
    found = [part.strip() for part in text.split(separator)]
    if not found[0]:
        found = found[1:]
    if found and not found[-1]:
        found = found[:-1]
    return found if all(found) else []


def two(text):
    found = parts(text, "*" * 6)
    return len(found) == 2 and found[0] != found[1]


def first_word(text, num_paragraphs, nth_paragraph, first_word):
    found = text.split("\n\n")
    count = sum(bool(part.strip()) for part in found)
    if count != num_paragraphs or nth_paragraph > count or not found[nth_paragraph - 1].strip():
        return False
    word = re.match(r"[^.,?!'\"]*", found[nth_paragraph - 1].split()[0].lstrip("'").lstrip('"'))[0]
    return word.lower() == first_word.lower()


def is_json(text):
    space = " \t\n\r\f\v"  # of JSON
    text = re.sub(r"^```(json|Json|JSON)?", "", text.strip(space))
    try:
        json.loads(text.removesuffix("```").strip(space), parse_constant=lambda _: 1 / 0)
    except (ValueError, ZeroDivisionError, RecursionError):
        return False
    return True


def title(text):
    return any(m.lstrip("<").rstrip(">").strip() for m in re.findall(r"<<[^\n]+>>", text))


def postscript(text, postscript_marker):
    patterns = {"P.S.": r"p\.\s?s\.", "P.P.S": r"p\.\s?p\.\s?s"}
    return bool(re.search(patterns.get(postscript_marker, re.escape(postscript_marker.lower())), text.lower()))


relations = ["at least", "less than"]
small = lambda: rng.randint(0, 4)
words = ["tea", "Rain", "it", "no_1", "caf\u00e9"]
rules = {
    "keywords:existence": (lambda: {"keywords": rng.sample(words, 2)},
                           lambda t, keywords: all(k.lower() in t.lower() for k in keywords)),
    "keywords:frequency": (lambda: {"keyword": rng.choice(words), "frequency": small(), "relation": rng.choice(relations)},
                           lambda t, keyword, frequency, relation: related(len(re.findall(re.escape(keyword), t, re.I)), frequency, relation)),
    "keywords:forbidden_words": (lambda: {"forbidden_words": rng.sample(words, 2)},
                                 lambda t, forbidden_words: not any(re.search(rf"\b{re.escape(w)}\b", t, re.I) for w in forbidden_words)),
    "keywords:letter_frequency": (lambda: {"letter": rng.choice("aeT1"), "let_frequency": small(), "let_relation": rng.choice(relations)},
                                  lambda t, letter, let_frequency, let_relation: related(t.lower().count(letter.lower()), let_frequency, let_relation)),
    "length_constraints:number_paragraphs": (lambda: {"num_paragraphs": small()}, lambda t, num_paragraphs: len(parts(t, "***")) == num_paragraphs),
    "length_constraints:number_words": (lambda: {"num_words": rng.randint(0, 12), "relation": rng.choice(relations)},
                                        lambda t, num_words, relation: related(len(re.findall(r"\w+", t)), num_words, relation)),
    "length_constraints:nth_paragraph_first_word": (
        lambda: {"num_paragraphs": rng.randint(1, 3), "nth_paragraph": rng.randint(1, 2), "first_word": rng.choice(words)}, first_word),
    "detectable_content:number_placeholders": (lambda: {"num_placeholders": small()},
                                               lambda t, num_placeholders: len(re.findall(r"\[.*?\]", t)) >= num_placeholders),
    "detectable_content:postscript": (lambda: {"postscript_marker": rng.choice(["P.S.", "P.P.S", "Note:"])}, postscript),
    "detectable_format:number_bullet_lists": (
        lambda: {"num_bullets": small()},
        lambda t, num_bullets: sum(bool(re.match(r"\s*(\*[^*\n]|-)", line.rstrip())) for line in t.split("\n")) == num_bullets),
    "detectable_format:constrained_response": (lambda: {}, lambda t: bool(re.search(r"My answer is (yes|no|maybe)\.", t))),
    "detectable_format:number_highlighted_sections": (lambda: {"num_highlights": small()}, lambda t, num_highlights: marked(t) >= num_highlights),
    "detectable_format:multiple_sections": (
        lambda: {"section_spliter": rng.choice(["Section", "Day"]), "num_sections": small()},
        lambda t, section_spliter, num_sections: len(re.findall(section_spliter + r"\s?[0-9]", t)) >= num_sections),
    "detectable_format:json_format": (lambda: {}, is_json),
    "detectable_format:title": (lambda: {}, title),
    "combination:two_responses": (lambda: {}, two),
    "combination:repeat_prompt": (lambda: {"prompt_to_repeat": rng.choice(words)},
                                  lambda t, prompt_to_repeat: t.strip().lower().startswith(prompt_to_repeat.lower())),
    "startend:end_checker": (lambda: {"end_phrase": rng.choice([*words, "maybe."])},
                             lambda t, end_phrase: t.strip().strip('"').lower().endswith(end_phrase.lower())),
    "startend:quotation": (lambda: {}, lambda t: bool(re.fullmatch(r'\s*".*"\s*', t, re.S))),
    "punctuation:no_comma": (lambda: {}, lambda t: "," not in t),
}
pieces = [*words, *map(str.upper, words), " ", " ", " ", "\n", "\n\n", "*", "**", "***", "******", "*a b*", "**b**", "[x]", "[", "]", "- ",
          "* ", "<<", ">>", "<<T>>", '"', "'", ".", ",", "!", "Section", "Day", "1", "2", "p.s.", "P. S.", "P.P.S", "P. P. s", "Note:",
          "My answer is maybe.", "```json", "```", "{}", '{"a": 1}', "[1]", "null", "\u00a0", "\u4e2d", "\u2019", "-"]


def text():
    made = "".join(rng.choice(pieces) for _ in range(rng.choice([0, 1, 2, 3, 6, 12, 25])))
    for wrap, chance in (('"', 0.1), ("```", 0.05), ("\n\n", 0.05)):
        if rng.random() < chance:
            made = wrap + made + wrap
    return made


cases, expected = [], []
for kind, (arguments, rule) in rules.items():
    for _ in range(1500):
        given, response = arguments(), text()
        cases.append({"type": kind, "arguments": given, "response": response})
        expected.append(bool(rule(response, **given)))
with tempfile.TemporaryDirectory() as folder:
    (pathlib.Path(folder) / "cases.json").write_text(json.dumps(cases))
    subprocess.run([build / "constraints_driver", f"{folder}/cases.json", f"{folder}/out.json"], check=True)
    found = json.loads((pathlib.Path(folder) / "out.json").read_text())
assert len(found) == len(expected)
wrong = [(case, want, have) for case, want, have in zip(cases, expected, found) if want is not have]
for case, want, have in wrong[:10]:
    print("differs:", case, "oracle:", want, "rluf:", have)
for kind in rules:
    outcomes = {want for case, want in zip(cases, expected) if case["type"] == kind}
    assert outcomes == {True, False}, f"the texts of {kind} are all {outcomes}"
assert not wrong, f"{len(wrong)} of {len(cases)} differ"
print(f"{len(cases)} texts and instructions of {len(rules)} types: as the oracle says")
