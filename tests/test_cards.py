"""Cards of data and of adapters, read as the hub's own library and a Markdown parser read them."""

import json
import re
from dataclasses import asdict, fields
from datetime import UTC, datetime
from pathlib import Path

import license_expression
import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from markdown_it import MarkdownIt
from plausible_reports import STARTER_DATA, clean_report, plausible_report, source

from database.comparisons import Difference
from database.facts import Result, Standing
from jobs.card_text import one_line
from jobs.cards import dataset_card, size_category
from jobs.data.report import Drop, Execution
from jobs.data.row import Row
from jobs.exports.model_cards import Scored, Tuned, model_card, tuned_of, write_model_card
from jobs.hub import licences
from jobs.hub.licences import Terms, base_terms, cautions, together, under
from jobs.loading import load
from jobs.training.steps import Facts, Step, write_steps

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
        "run": "70ded70ded70",
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
    return Tuned(**(given | more))


def facts(**more):
    given = {
        "weights": "adapter", "engine": "single", "zero_stage": None, "offload": "none", "ranks": 1,
        "attention": "varlen", "tokens": 1_000, "seconds": 9.5, "gpu_hours": 0.25,
        "kilowatt_hours": 0.125, "memory_gib": 3.5, "rows": 90, "rows_held_out": 5,
        "rows_left_out": 0, "rows_cut": 0, "windows": 0, "trainable_parameters": 64,
        "best_step": None, "resumed": 0, "device": "cpu", "versions": {"torch": "2.13.0"},
    }  # fmt: skip
    return Facts(**(given | more))


def step(number, **more):
    given = {"loss": 2.0, "learning_rate": 1e-3, "gradient_norm": 1.0, "tokens": 9, "seconds": 0.1}
    return Step(step=number, **(given | more))


def scored(benchmark="humaneval", **more):
    """A score of HumanEval, 41 points above its base."""
    delta = Difference(value=0.413, low=0.37, high=0.456, p=0.001, verdict="better")
    given = {
        "run": "70ded70ded70", "model": "qwen0.5b", "base": "ba5e", "method": "lora",
        "dataset": "starter", "seed": 0, "benchmark": "mine", "metric": "pass@1", "value": 0.61234,
        "low": 0.55, "high": 0.67, "problems": 164, "completions": 20, "contract": "c0117ac7c0de",
        "delta": delta,
    }  # fmt: skip
    standing = Standing(
        result=Result(**(given | more)), label="x", kind="tuned", asked=164, asking="a",
        judging="j", recorded_at=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip
    return Scored(standing=standing, benchmark=benchmark)


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
    found = dict(table_below(card, "Training"))
    assert (found["tokens"], found["versions"]) == ("1,234,567", "torch 2.13.0")
    assert "zero stage" not in found


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

    assert (licences.SPDX | set(licences.RENAMED)) - listed == set()


@pytest.mark.parametrize(("licences", "said"), TOGETHER.values(), ids=TOGETHER)
def test_an_adapter_is_under_the_stricter_of(licences, said):
    assert together(*licences) == said


CAUTIONS = {
    "nothing to say": (("apache-2.0", "MIT"), []),
    "share alike": (("apache-2.0", "CC-BY-SA-4.0"), []),
    "no commerce": (("apache-2.0", "CC-BY-NC-4.0"), ["data, CC-BY-NC-4.0, forbids commercial"]),
    "no derivatives": (("mit", "CC-BY-ND-4.0"), ["forbids sharing what was made of it"]),
    "neither known": (("", ""), ["base is not known", "data is not known"]),
    "a name nobody knows": (("my-terms", "MIT"), ["'my-terms', which is not judged here"]),
    "a model's, that is known": (("gemma", "MIT"), []),
}


@pytest.mark.parametrize(("licences", "said"), CAUTIONS.values(), ids=CAUTIONS)
def test_who_shares_weights_is_warned_of(licences, said):
    base, data = licences
    found = cautions(Terms(base), data)

    assert len(found) == len(said)
    assert all(part in caution for part, caution in zip(said, found, strict=True))


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
    (tmp_path / "facts.json").write_text(json.dumps(asdict(facts(tokens=4_321))))
    write_steps([step(1), step(2, held_out_loss=1.25)], tmp_path / "steps.jsonl")
    card = model_card(tuned_of(run, tmp_path), plausible_report())
    settings, found = (dict(table_below(card, heading)) for heading in ("Recipe", "Training"))

    assert shown(card).startswith(run.label)
    assert settings["rank"] == str(run.training.method.rank)
    assert found["tokens"] == "4,321"
    assert found["loss on held-out rows"] == "1.25"
    assert "Licence: apache-2.0" in shown(card)
    assert str(tmp_path) not in card
    assert str(ROOT) not in card


def test_scores_stand_with_interval_difference_and_contract():
    part = scored(metric="pass@10", problems=160, delta=None)
    card = model_card(adapter(), plausible_report(), [scored(), part])

    heads, first, second = table_below(card, "Scores")
    told = dict(zip(heads, first, strict=True))
    assert told["Score"] == "61.2"
    assert told["95 % interval"] == "55.0 to 67.0"
    assert told["Against its base"] == "+41.3 points, better (37.0 to 45.6)"
    assert (told["Problems"], told["Answers each"]) == ("164", "20")
    assert told["Contract"] == "c0117ac7c0de"
    assert dict(zip(heads, second, strict=True))["Problems"] == "160 of 164"


def test_the_hub_reads_the_scores_of_whole_benchmarks_that_it_has():
    scores = [scored(), scored(problems=160), scored(benchmark="custom")]
    card = ModelCard(model_card(adapter(label="a\nlabel"), plausible_report(), scores))

    (result,) = card.data.eval_results
    assert (result.dataset_type, result.task_type) == ("openai/openai_humaneval", "text-generation")
    assert (result.metric_type, result.metric_value) == ("pass@1", 0.6123)
    assert card.data.model_name == "a label"


KINDS = {
    "an adapter": ({}, ("peft", "adapter"), "An adapter for"),
    "an adapter merged in": (
        {"relation": "finetune", "merged": True},
        ("transformers", "finetune"),
        "with an adapter merged in",
    ),
    "all weights": ({"relation": "finetune"}, ("transformers", "finetune"), "all weights tuned"),
}


@pytest.mark.parametrize(("kind", "about", "said"), KINDS.values(), ids=KINDS)
def test_the_hub_is_told_what_weights_are_to_their_base(kind, about, said):
    card = model_card(adapter(**kind), plausible_report())
    data = ModelCard(card).data

    assert (data.library_name, data.base_model_relation) == about
    assert said in shown(card)


def test_the_held_out_loss_told_is_that_of_the_weights_that_were_kept():
    measured = [step(n, held_out_loss=loss) for n, loss in ((10, 1.5), (20, 1.25), (30, 1.75))]
    stopped = adapter(steps=measured, trained=asdict(facts(best_step=20)))
    whole = adapter(steps=measured, trained=asdict(facts()))

    for tuned, loss in ((stopped, "1.25"), (whole, "1.75")):
        card = model_card(tuned, plausible_report())
        assert dict(table_below(card, "Training"))["loss on held-out rows"] == loss


def test_what_a_training_cost_is_told_where_it_is_known():
    known = model_card(adapter(trained=asdict(facts())), plausible_report())
    cpu = facts(gpu_hours=0.0, kilowatt_hours=None, memory_gib=None)
    unknown = model_card(adapter(trained=asdict(cpu)), plausible_report())

    told = dict(table_below(known, "Training"))
    assert (told["gpu hours"], told["kilowatt hours"], told["memory gib"]) == (
        "0.25",
        "0.125",
        "3.5",
    )
    assert not {"gpu hours", "kilowatt hours", "memory gib"} & set(
        dict(table_below(unknown, "Training"))
    )


def test_a_model_whose_data_is_no_longer_known_has_no_known_licence():
    card = model_card(adapter(), None)

    assert front_matter(card)[0]["license"] == "unknown"
    assert "data and licences are not known" in shown(card)


def test_the_licence_of_a_base_of_the_hub_is_read_from_its_card_in_the_cache(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    folder = tmp_path / "models--somebody--something" / "snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n")

    assert base_terms("somebody/something", tmp_path, "a" * 40).licence == "apache-2.0"
    assert base_terms("somebody/something", tmp_path, "b" * 40).licence == ""


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
