"""Licences by the ids of the Hugging Face hub, and what that of a base asks of tuned weights."""

import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from jobs.data.terms import Term, term
from jobs.declared import UserError
from jobs.hub.cache import place

_SPDX = """
afl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0
cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0
cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0
cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0
epl-2.0 etalab-2.0 eupl-1.1 isc lppl-1.3c mit mpl-2.0 ms-pl ncsa ofl-1.1 osl-3.0 postgresql
unlicense wtfpl zlib
"""
SPDX = frozenset(_SPDX.split())
"""Ids of the hub that are SPDX's own in small letters; this and the next three tables are from its
page, docs/hub/repositories-licenses.md of github.com/huggingface/hub-docs."""
RENAMED = {
    "c-uda-1.0": "c-uda",
    "lgpllr": "lgpl-lr",
    "odbl-1.0": "odbl",
    "odc-by-1.0": "odc-by",
    "pddl-1.0": "pddl",
}
"""SPDX ids in small letters that the hub knows by another name."""
GNU = frozenset({"agpl-3.0", "gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0"})
"""SPDX says `-only` or `-or-later` behind these, the hub does not tell them apart."""
_MODELS = """
bigcode-openrail-m bigscience-bloom-rail-1.0 bigscience-openrail-m creativeml-openrail-m
deepfloyd-if-license gemma llama2 openrail openrail++
"""
MODELS = frozenset(_MODELS.split())
"""Licences of models, which SPDX has no ids for."""

BASES = (
    ("codellama/", "llama2"),
    ("meta-llama/CodeLlama-", "llama2"),
    ("meta-llama/Llama-2-", "llama2"),
    ("bigcode/starcoder", "bigcode-openrail-m"),
    ("mistralai/Mistral-7B-", "apache-2.0"),
    ("Qwen/Qwen2.5-Coder-3B", "qwen-research"),
    ("Qwen/Qwen2.5-Coder-", "apache-2.0"),
    ("Qwen/Qwen3-", "apache-2.0"),
    ("HuggingFaceTB/SmolLM3-3B", "apache-2.0"),
    ("ibm-granite/granite-3.3-", "apache-2.0"),
    ("ibm-granite/granite-4.0-", "apache-2.0"),
    ("tiiuae/falcon-7b", "apache-2.0"),
)
"""How repositories on the hub begin, and their licence as their own cards say; the first counts."""
NOTICES = {
    "llama2": (
        "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, "
        "Inc. All Rights Reserved."
    ),
    "bigcode-openrail-m": (
        "The use restrictions of the BigCode OpenRAIL-M licence go with these weights, to "
        "everybody they are passed on to."
    ),
    "qwen-research": "The base is for research only, and so are these weights.",
}
"""What goes with a derivative: of Llama 2 to the letter (section 1.b.iii of its licence)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What is known of a base model's licence."""

    licence: str
    """Id of the hub, or the name of one that has none; empty: not known."""
    notice: str = ""


def under(licence: str) -> dict[str, str]:
    """The front matter of a card that says a licence: `license`, and `license_name` for `other`.

    Args:
        licence: an SPDX expression, an id of the hub, or empty where nothing is known.
    """
    name = licence.strip().lower()
    if name in ("", "noassertion", "unknown"):
        return {"license": "unknown"}
    known = RENAMED.get(name, name)
    gnu = re.sub(r"(-only|-or-later|\+)$", "", name)
    if known in SPDX | GNU | MODELS | set(RENAMED.values()):
        return {"license": known}
    if gnu in GNU:
        return {"license": gnu}
    if re.fullmatch(r"gfdl-1\.[123](-\w+)*", name):
        return {"license": "gfdl"}
    return {"license": "other", "license_name": _name(name)}


def together(base: str, data: str) -> dict[str, str]:
    """The front matter for an adapter: the stricter licence, or both where neither is permissive.

    Args:
        base: of the base model, as `under` takes it.
        data: of the strictest term in the data, as `under` takes it.
    """
    of_base, of_data = under(base), under(data)
    if of_base == of_data or _is_permissive(data):
        return of_base
    if _is_permissive(base):
        return of_data
    names = [said.get("license_name", said["license"]) for said in (of_base, of_data)]
    return {"license": "other", "license_name": _name(f"base-{names[0]}-and-data-{names[1]}")}


def cautions(base: Terms, data: str) -> list[str]:
    """What somebody should know before sharing tuned weights, one sentence each.

    Args:
        base: of the base model.
        data: the strictest expression of the data; empty where it is not known.
    """
    return [
        *_caution("base", base.licence),
        *([base.notice] if base.notice else []),
        *_caution("data", data),
    ]


def _caution(what: str, licence: str) -> list[str]:
    asked = _asked(licence)
    if asked is None:
        known = f"the licence of the {what} is {licence!r}, which is not judged here; read it"
        unknown = f"the licence of the {what} is not known; look it up before you share this"
        return [known if licence else unknown]
    said = {
        Term.NON_COMMERCIAL: "forbids commercial use",
        Term.NO_DERIVATIVES: "forbids sharing what was made of it",
        Term.NO_LICENCE: "allows nothing without its owner's consent",
    }
    return [f"the licence of the {what}, {licence}, {said[asked]}"] if asked in said else []


def _asked(licence: str) -> Term | None:
    """What a licence asks for; None where it is not known."""
    if licence.lower() in MODELS:
        return Term.RESTRICTED
    try:
        return term(licence) if licence else None
    except UserError:
        return None


def base_terms(hub: str, folder: Path, revision: str = "") -> Terms:
    """The licence of a base model, from its name on the hub or the card beside its weights.

    Args:
        hub: its repository; empty for a folder.
        folder: where it lies, if it is no repository.
        revision: a commit of the repository, whose card may be in the cache.
    """
    card = folder / "README.md"
    licence = ""
    if hub:
        licence = next((licence for start, licence in BASES if hub.startswith(start)), "")
        card = place(hub, revision, "README.md")
    licence = licence or _declared(card)
    return Terms(licence, NOTICES.get(licence, ""))


def _declared(card: Path) -> str:
    """The licence in the front matter of a card; empty where there is none."""
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    matter = re.match(r"\s*---\n(.*?)\n---\s*\n", text, re.DOTALL)
    try:
        said = yaml.safe_load(matter.group(1)) if matter else {}
    except yaml.YAMLError:
        return ""
    licence = said.get("license", "") if isinstance(said, dict) else ""
    if licence == "other":
        licence = said.get("license_name", "other")
    return licence if isinstance(licence, str) else ""


def _is_permissive(licence: str) -> bool:
    """Whether it asks for no more than attribution and notices; not where it is not known."""
    try:
        return term(licence) <= Term.ATTRIBUTION
    except UserError:
        return False


def _name(text: str) -> str:
    """A name as the hub asks for: small letters, digits, dots and hyphens."""
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")[:96] or "unnamed"
