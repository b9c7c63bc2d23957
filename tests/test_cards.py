"""Cards of data and of adapters, read as the hub's own library and a Markdown parser read them."""

import json
import re
from dataclasses import fields
from pathlib import Path

import license_expression
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from markdown_it import MarkdownIt
from plausible_reports import STARTER_DATA, clean_report, plausible_report, source

from jobs import hub_licences
from jobs.card_text import one_line
from jobs.cards import (
    Adapter,
    adapter_of,
    dataset_card,
    model_card,
    size_category,
    write_model_card,
)
from jobs.data.report import Drop, Execution
from jobs.data.row import Row
from jobs.hub_licences import Terms, base_terms, together, under
from jobs.loading import load

ROOT = Path(__file__).parent.parent
HOSTILE = {
    "quotes": "a 'b' \"c\" `d`",
    "a line break": "a\nb",
    "the end of front matter": "a\n---\nlicense: mit\n---\n# b",
    "only the end": "---",
    "a key": "license: mit",
    "YAML's own": "!!python/object:os.system &a *a {b: [c]} # d % e @f |",
    "other line breaks": "a\r\nb\x0bc\x0cd\x85e\u2028f\u2029g",
    "what no file holds": "a\0b\ud800c",
    "HTML": "<img src=x onerror=alert(1)><script>alert(1)</script><!-- x -->&lt;",
    "Markdown": "# a **b** _c_ ~~d~~ [e](javascript:alert) ![f](http://g/h.png) <http://i> `j` $k$",
    "a table": "a | b |\n| --- | --- |",
    "a fence": "```\n~~~\n    code",
    "a list": "- a",
    "a numbered list": "1. a",
    "a heading from below": "===",
    "not a string": "null",
    "a number": "1e3",
    "nothing": " ",
    "long": "word " * 400,
    "other scripts": "Größe 数据 данные 😀 \u202eabc",
}
SIZES = {
    "nothing": (0, "n<1K"),
    "the last below a thousand": (999, "n<1K"),
    "a thousand": (1_000, "1K<n<10K"),
    "a million but one": (999_999, "100K<n<1M"),
    "a million": (1_000_000, "1M<n<10M"),
    "too many to count": (10**12, "n>1T"),
}
LICENCES = {
    "the same name": ("Apache-2.0", {"license": "apache-2.0"}),
    "not for commerce": ("CC-BY-NC-4.0", {"license": "cc-by-nc-4.0"}),
    "GNU, this version": ("GPL-3.0-only", {"license": "gpl-3.0"}),
    "GNU, or later": ("LGPL-2.1-or-later", {"license": "lgpl-2.1"}),
    "GNU that the hub lacks": (
        "LGPL-2.0-only",
        {"license": "other", "license_name": "lgpl-2.0-only"},
    ),
    "another name": ("ODC-By-1.0", {"license": "odc-by"}),
    "documentation": ("GFDL-1.3-no-invariants-or-later", {"license": "gfdl"}),
    "Boost, not Business Source": ("BSL-1.0", {"license": "bsl-1.0"}),
    "Business Source": ("BUSL-1.1", {"license": "other", "license_name": "busl-1.1"}),
    "one's own": (
        "LicenseRef-my_terms",
        {"license": "other", "license_name": "licenseref-my-terms"},
    ),
    "several": ("MIT AND CC-BY-4.0", {"license": "other", "license_name": "mit-and-cc-by-4.0"}),
    "with an exception": (
        "GPL-2.0-only WITH Classpath-exception-2.0",
        {"license": "other", "license_name": "gpl-2.0-only-with-classpath-exception-2.0"},
    ),
    "not known": ("", {"license": "unknown"}),
    "a model's": ("llama2", {"license": "llama2"}),
}
TOGETHER = {
    "the same": (("mit", "MIT"), {"license": "mit"}),
    "data stricter": (("apache-2.0", "CC-BY-NC-4.0"), {"license": "cc-by-nc-4.0"}),
    "base stricter": (("llama2", "CC-BY-4.0"), {"license": "llama2"}),
    "both strict": (
        ("llama2", "CC-BY-NC-4.0"),
        {"license": "other", "license_name": "base-llama2-and-data-cc-by-nc-4.0"},
    ),
    "a base with a licence of its own": (
        ("qwen-research", "MIT"),
        {"license": "other", "license_name": "qwen-research"},
    ),
    "base not known, data permissive": (("", "MIT"), {"license": "unknown"}),
    "base not known, data strict": (
        ("", "CC-BY-NC-4.0"),
        {"license": "other", "license_name": "base-unknown-and-data-cc-by-nc-4.0"},
    ),
    "data not known": (("apache-2.0", ""), {"license": "unknown"}),
}
HUB_BASES = {
    "codellama/CodeLlama-7b-hf": ("llama2", "LLAMA 2 Community License"),
    "bigcode/starcoder2-3b": ("bigcode-openrail-m", "use restrictions"),
    "Qwen/Qwen2.5-Coder-3B": ("qwen-research", "research only"),
    "Qwen/Qwen2.5-Coder-0.5B": ("apache-2.0", ""),
    "tiiuae/falcon-7b": ("apache-2.0", ""),
    "somebody/something": ("", ""),
}


def adapter(**more):
    given = {
        "run": "70ned70ned70",
        "label": "qwen0.5b starter lora seed 0",
        "model": "qwen0.5b",
        "hub": "Qwen/Qwen2.5-Coder-0.5B",
        "identity": "Qwen/Qwen2.5-Coder-0.5B@" + "a" * 40,
        "terms": Terms("apache-2.0"),
        "method": {"kind": "lora", "rank": 16, "learning_rate": 2e-4, "targets": ["q", "k_proj"]},
        "parallelism": {"strategy": "zero2", "workers": 2},
        "seed": 0,
        "trained": {"tokens": 1_234_567, "zero_stage": None, "versions": {"torch": "2.13.0"}},
    }
    return Adapter(**(given | more))


def front_matter(card):
    """The metadata, and the text below it, split by the rule of the hub's own page."""
    found = re.match(r"---\n(.*?)\n---\n(.*)", card, re.DOTALL)
    return yaml.safe_load(found.group(1)), found.group(2)


def html(card):
    """The text of a card as GitHub-like Markdown shows it, HTML let through if there is any."""
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    return parser.render(front_matter(card)[1])


def shown(card):
    """The words that a reader sees."""
    text = re.sub(r"</?(a|code|strong)\b[^>]*>", "", html(card))
    text = re.sub(r"<[^>]*>", " ", text)
    for entity, mark in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        text = text.replace(entity, mark)
    return " ".join(text.split())


def table_below(card, heading):
    """The cells of the first table below a heading, as text."""
    rest = html(card).split(f"<h2>{heading}</h2>")[1]
    rows = re.findall(r"<tr>(.*?)</tr>", rest.split("</table>")[0], re.DOTALL)
    return [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in rows]


def test_the_hub_reads_the_metadata_of_a_dataset():
    card = DatasetCard(dataset_card(plausible_report()))

    assert card.data.to_dict() == {
        "pretty_name": "starter",
        "license": "cc-by-nc-4.0",
        "size_categories": ["10K<n<100K"],
        "task_categories": ["text-generation"],
        "tags": ["code", "codeladder"],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": "rows/*.parquet"}],
            }
        ],
    }
    assert card.text.lstrip().startswith("# starter\n")


def test_the_hub_reads_the_metadata_of_an_adapter():
    card = ModelCard(model_card(adapter(), plausible_report()))

    assert card.data.to_dict() == {
        "base_model": "Qwen/Qwen2.5-Coder-0.5B",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "license": "cc-by-nc-4.0",
        "tags": ["code", "codeladder", "lora"],
    }


def test_a_base_in_a_folder_is_named_but_is_no_base_model_of_the_hub():
    folder = adapter(hub="", model="mine", identity="0123456789ab")
    card = model_card(folder, plausible_report())

    assert "base_model" not in front_matter(card)[0]
    assert "An adapter for mine" in shown(card)
    assert "0123456789ab" in shown(card)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_no_name_breaks_the_metadata_of_a_dataset(hostile):
    card = dataset_card(plausible_report(dataset=hostile))
    written = card.encode().decode()

    assert DatasetCard(written).data.pretty_name == hostile
    assert front_matter(written)[0]["license"] == "cc-by-nc-4.0"


@pytest.mark.parametrize("name", ["1e3", "0o17", "12e45", "yes", "1_000", "~"])
def test_a_name_that_some_version_of_yaml_takes_for_another_value_is_quoted(name):
    card = dataset_card(plausible_report(dataset=name))

    assert re.search(rf"^pretty_name: (['\"]){re.escape(name)}\1$", card, re.MULTILINE)


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_no_name_breaks_the_metadata_of_an_adapter(hostile):
    method = {"kind": hostile}
    card = model_card(adapter(hub=hostile, label=hostile, method=method), plausible_report())
    about = front_matter(card.encode().decode())[0]

    assert about["base_model"] == hostile
    assert about["tags"] == ["code", "codeladder", hostile]
    assert about["library_name"] == "peft"


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_nothing_that_was_declared_becomes_markup(hostile):
    report = plausible_report(
        dataset=hostile,
        licence=hostile,
        sources=(source(hostile, licence=hostile),),
        drops=(Drop(source=hostile, step="filters", reason=hostile, rows=7, examples=()),),
        attributions=(hostile,),
        terms=(hostile,),
        touched={hostile: {hostile: {hostile: 1}}},
        trained_on={hostile: {hostile: {hostile: 1}}},
        benchmarks={hostile: "f" * 64},
    )
    told = adapter(
        label=hostile, model=hostile, hub="", identity=hostile, terms=Terms(hostile, hostile)
    )
    harmless = plausible_report(), adapter(terms=Terms("mit", "a notice"))
    cards = {
        dataset_card(report): dataset_card(harmless[0]),
        model_card(told, report): model_card(harmless[1], harmless[0]),
    }

    for card, without in cards.items():
        tags, usual = (re.findall(r"<(\w+)", html(one)) for one in (card, without))
        assert set(tags) - {"a"} <= set(usual)
        assert set(re.findall(r'href="(\w+):', html(card))) <= {"http", "https"}
        for once in ("h1", "h2", "table", "blockquote"):
            assert tags.count(once) == usual.count(once)
        assert one_line(hostile) in shown(card)


def test_an_address_in_an_attribution_is_a_link_to_the_letter():
    url = "https://github.com/sahil280114/code_alpaca_20k/blob/main/a_b.json?x=1&y=_2"
    card = dataset_card(plausible_report(attributions=(f"From {url}.",)))

    links = re.findall(r'<a href="([^"]*)"', html(card))
    assert [link.replace("&amp;", "&") for link in links] == [url]
    assert f"From {url}." in shown(card)


def test_sources_and_drops_stand_in_tables():
    card = dataset_card(plausible_report())

    assert table_below(card, "What is in it") == [
        ["Source", "Licence", "Rows in", "Rows out", "With repeats"],
        ["code-alpaca", "CC-BY-NC-4.0", "20,022", "18,101", "18,101"],
        ["mbpp", "CC-BY-4.0", "374", "374", "748"],
    ]
    assert table_below(card, "What was left out")[-1] == [
        "code-alpaca", "filters", "longest_line", "714",
    ]  # fmt: skip


def test_a_card_names_every_column_of_the_rows():
    said = shown(dataset_card(plausible_report()))

    assert ", ".join(field.name for field in fields(Row)) in said


@pytest.mark.parametrize("kind", ["data", "adapter"])
def test_contamination_is_told_in_numbers_and_names(kind):
    report = plausible_report()
    card = dataset_card(report) if kind == "data" else model_card(adapter(), report)

    assert table_below(card, "Contamination")[1:] == [["humaneval", "3", "2"], ["mbpp", "1", "0"]]
    assert "humaneval/7: ngram8" in shown(card)
    assert "humaneval/9" not in shown(card)


def test_more_problems_than_a_card_names_are_counted():
    many = {"humaneval": {f"HumanEval/{place:03}": {"syntax": 1} for place in range(57)}}
    card = shown(dataset_card(plausible_report(touched=many, trained_on=many)))

    assert "HumanEval/019: syntax" in card
    assert "HumanEval/020" not in card
    assert "and 37 more, in report.json" in card


def test_a_clean_dataset_and_one_compared_with_nothing_are_not_the_same():
    unknown = plausible_report(touched={}, trained_on={}, benchmarks={})

    assert table_below(dataset_card(clean_report()), "Contamination")[1] == ["humaneval", "0", "0"]
    assert "not known" in shown(dataset_card(unknown)).split("Contamination")[1]


def test_a_card_shows_no_row_that_was_left_out():
    private = "rows.jsonl:7: me@example.org"
    drop = Drop(source="s", step="filters", reason="email", rows=1, examples=(private,))

    assert "example.org" not in dataset_card(plausible_report(drops=(drop,)))


@pytest.mark.parametrize("kind", ["data", "adapter"])
def test_licences_follow_the_data(kind):
    report = plausible_report()
    said = shown(dataset_card(report) if kind == "data" else model_card(adapter(), report))

    assert "The strictest term of what is in it: CC-BY-NC-4.0" in said
    for line in (*report.attributions, *report.terms):
        assert line in said


def test_the_notice_of_a_base_goes_with_its_adapter():
    terms = base_terms("codellama/CodeLlama-7b-hf", Path("codellama/CodeLlama-7b-hf"))
    card = model_card(adapter(terms=terms), plausible_report())

    assert (
        "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, "
        "Inc. All Rights Reserved."
    ) in shown(card)
    assert front_matter(card)[0]["license_name"] == "base-llama2-and-data-cc-by-nc-4.0"


def test_the_recipe_of_an_adapter_is_told_setting_by_setting():
    card = model_card(adapter(), plausible_report())
    settings = dict(table_below(card, "Recipe"))

    assert settings["rank"] == "16"
    assert settings["learning rate"] == "0.0002"
    assert settings["targets"] == "q, k_proj"
    assert (settings["strategy"], settings["workers"], settings["seed"]) == ("zero2", "2", "0")
    assert (settings["tokens"], settings["versions"]) == ("1,234,567", "torch 2.13.0")
    assert "zero stage" not in settings


def test_what_was_not_executed_is_not_told():
    nothing = Execution(
        rows_with_tests=0, rows_passed=0, pairs_nominated=0, pairs_tried=0, pairs_solved=0,
        sandbox_errors=0,
    )  # fmt: skip

    assert "sandbox" in shown(dataset_card(plausible_report()))
    assert "sandbox" not in shown(dataset_card(plausible_report(execution=nothing)))


@pytest.mark.parametrize(("rows", "category"), SIZES.values(), ids=SIZES)
def test_the_size_category_of(rows, category):
    assert size_category(rows) == category


@pytest.mark.parametrize(("licence", "said"), LICENCES.values(), ids=LICENCES)
def test_the_front_matter_of_a_licence(licence, said):
    assert under(licence) == said


def test_every_id_that_is_called_spdxs_is_on_its_list():
    listed = {name.lower() for name in license_expression.get_spdx_licensing().known_symbols}

    assert (hub_licences.SPDX | set(hub_licences.RENAMED)) - listed == set()


@pytest.mark.parametrize(("licences", "said"), TOGETHER.values(), ids=TOGETHER)
def test_an_adapter_is_under_the_stricter_of(licences, said):
    assert together(*licences) == said


@pytest.mark.parametrize(("hub", "terms"), HUB_BASES.items(), ids=HUB_BASES)
def test_the_licence_of_the_base(hub, terms):
    licence, notice = terms
    found = base_terms(hub, Path(hub))

    assert found.licence == licence
    assert notice in found.notice
    assert bool(notice) == bool(found.notice)


FOLDERS = {
    "an id": ("---\nlicense: llama2\n---\n# x", "llama2"),
    "a name of its own": (
        "---\nlicense: other\nlicense_name: qwen-research\n---\n",
        "qwen-research",
    ),
    "other, without a name": ("---\nlicense: other\n---\n", "other"),
    "no licence": ("---\ntags: [a]\n---\n", ""),
    "no front matter": ("# x\n", ""),
    "broken front matter": ("---\n: [\n---\n", ""),
    "front matter that is a list": ("---\n- a\n---\n", ""),
    "a list of licences": ("---\nlicense: [mit, apache-2.0]\n---\n", ""),
    "no text": ("", ""),
}


@pytest.mark.parametrize(("card", "licence"), FOLDERS.values(), ids=FOLDERS)
def test_the_licence_of_a_base_in_a_folder_whose_card_has(card, licence, tmp_path):
    (tmp_path / "README.md").write_text(card)

    assert base_terms("", tmp_path).licence == licence


def test_a_base_without_a_card_has_no_known_licence(tmp_path):
    assert base_terms("", tmp_path) == Terms("")
    card = model_card(adapter(terms=Terms("")), clean_report())

    assert "Licence: not known" in shown(card)
    assert front_matter(card)[0]["license"] == "unknown"


def test_the_card_of_a_run_is_told_from_the_run_and_what_its_training_left(tmp_path):
    run = next(run for run in load(ROOT / "experiments" / "smoke.yaml").runs() if run.training)
    (tmp_path / "facts.json").write_text(json.dumps({"tokens": 4_321, "engine": "single"}))
    card = model_card(adapter_of(run, tmp_path), plausible_report())
    settings = dict(table_below(card, "Recipe"))

    assert shown(card).startswith(run.label)
    assert settings["rank"] == str(run.training.method.rank)
    assert settings["tokens"] == "4,321"
    assert "Licence: apache-2.0" in shown(card)
    assert str(tmp_path) not in card
    assert str(ROOT) not in card


def test_a_written_card_replaces_the_one_that_peft_left(tmp_path):
    (tmp_path / "README.md").write_text("---\nlibrary_name: peft\n---\n# Model Card for Model ID\n")
    card = model_card(adapter(), plausible_report(dataset="Größe 数据"))
    for _ in range(2):
        write_model_card(tmp_path, card)

    assert ModelCard.load(tmp_path / "README.md").data.base_model == "Qwen/Qwen2.5-Coder-0.5B"
    assert (tmp_path / "README.md").read_text(encoding="utf-8") == card
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_the_digest_of_the_data_stands_in_both_cards():
    report = plausible_report()

    assert STARTER_DATA in dataset_card(report)
    assert STARTER_DATA in model_card(adapter(), report)
