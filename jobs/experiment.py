"""An experiment: one YAML grid of models x datasets x methods x seeds, and the runs it asks for."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from eval_sandbox.contract import Judging
from eval_sandbox.problem import Problem
from jobs.cases import CONVERTERS_VERSION, FORMS
from jobs.data.recipe import DatasetRecipe
from jobs.declared import Declared, nearest
from jobs.generation.version import ENGINE, ENGINE_VERSION
from jobs.hub.cache import shapes_text
from jobs.methods import AnyMethod
from jobs.model_spec import ModelSpec as ModelSpec
from jobs.prompt_contracts import Prompt
from jobs.recipes import BenchmarkRecipe, sha256_of
from jobs.remote.version import VLLM_ASKING_VERSION
from jobs.sharing import Sharing
from jobs.sweeps import Expansion, Sweep, expand

HTTP = "openai-http"
"""The engine of an asking contract whose answers came from a server."""
RECIPE_VERSION = 2
"""Raised by hand when the same spec would lead to other weights."""


class Asking(Declared):
    """How many answers a benchmark asks for, and how they are drawn."""

    completions: int = Field(default=1, ge=1)
    """Answers per problem."""
    temperature: float = Field(default=0.0, ge=0)
    """0 is greedy."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Tokens are drawn from the most likely ones that hold this mass."""
    top_k: int = Field(default=0, ge=0)
    """Tokens are drawn from so many of the most likely ones; 0: from all."""
    max_new_tokens: int = Field(default=512, ge=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of the weights and the arithmetic while a model answers."""
    engine: Literal["transformers", "vllm"] = "transformers"
    """What writes the answers of models that are not behind a server: ours, or a `vllm serve`."""
    prompt: str = ""
    """Name of datasets/prompts/NAME.yaml: ask so instead of as the benchmark's recipe says."""
    problems: int | None = Field(default=None, ge=1)
    """Ask only the first so many problems; default: all of them."""
    since: date | None = None
    """Ask only problems published on this day or later; those without a date are left out."""
    until: date | None = None
    """Ask only problems published on this day or earlier; those without a date are left out."""
    report: tuple[int, ...] = (1,)
    """Each k for which pass@k is reported."""

    @model_validator(mode="after")
    def _enough(self) -> Self:
        for k in self.report:
            if not 1 <= k <= self.completions:
                raise ValueError(
                    f"pass@{k} needs at least {k} completions, but completions is "
                    f"{self.completions}"
                )
        if self.completions > 1 and self.temperature == 0:
            raise ValueError(
                f"{self.completions} completions at temperature 0 are the same text; "
                "set a temperature, or completions: 1"
            )
        return self


class Cell(Declared):
    """A place in the grid to leave out; what is not named matches everything."""

    model: str | None = None
    dataset: str | None = None
    method: str | None = None
    """A method, a sweep with all its points, or one point by its whole name."""


class ExperimentFile(Declared):
    """What stands in experiments/NAME.yaml."""

    description: str = ""
    models: dict[str, ModelSpec] = Field(min_length=1)
    datasets: tuple[str, ...] = ()
    """Names of datasets/train/NAME.yaml."""
    methods: dict[str, AnyMethod] = Field(default_factory=dict)
    sweeps: dict[str, Sweep] = Field(default_factory=dict)
    """More methods: a name, and what is tried of one of `methods`."""
    benchmarks: dict[str, Asking] = Field(min_length=1)
    """Names of datasets/bench/NAME.yaml, and how each is asked."""
    seeds: tuple[Annotated[int, Field(ge=0, lt=2**31)], ...] = Field(default=(0,), min_length=1)
    baseline: bool = True
    """Also score every model as it came."""
    cluster: Sharing = Sharing()
    """How it shares a cluster with other experiments."""
    exclude: tuple[Cell, ...] = ()

    @model_validator(mode="after")
    def _names(self) -> Self:
        wrong = list(self.expansion.mistakes)
        wrong += [
            f"exclude: no {kind} {name!r}.{nearest(name, known)}"
            for cell in self.exclude
            for kind, name, known in (
                ("model", cell.model, self.models),
                ("dataset", cell.dataset, self.datasets),
                ("method", cell.method, {**self.tunings, **self.sweeps}),
            )
            if name is not None and name not in known and not self.expansion.mistakes
        ]
        if bool(self.datasets) != bool(self.methods):
            wrong.append("datasets and methods come together: name both, or neither")
        if not self.baseline and not self.methods:
            wrong.append("nothing to run: no methods, and baseline is false")
        if not wrong:
            wrong += self._served_but_tuned()
        if wrong:
            raise ValueError("\n".join(wrong))
        return self

    def _served_but_tuned(self) -> list[str]:
        cells = list(product(self.datasets, self.tunings))
        return [
            f"models.{name}: a model behind a server is asked and not trained; leave it out of the "
            f"methods with exclude: [{{model: {name}}}]"
            for name, model in self.models.items()
            if model.server and any(self.wants(name, *cell) for cell in cells)
        ]

    @cached_property
    def expansion(self) -> Expansion:
        """What `sweeps` stands for."""
        return expand(self.sweeps, self.methods)

    @property
    def tunings(self) -> dict[str, AnyMethod]:
        """Every method that is trained, by name: those that no sweep names, then the sweeps'."""
        swept = {sweep.method for sweep in self.sweeps.values()}
        alone = {name: method for name, method in self.methods.items() if name not in swept}
        return alone | {name: point.method for name, point in self.expansion.points.items()}

    def sweep_of(self, method: str) -> str | None:
        """The sweep that asks for a method; None where it is written out."""
        point = self.expansion.points.get(method)
        return point.sweep if point else None

    def wants(self, model: str, dataset: str, method: str) -> bool:
        """Whether a cell of the grid is not excluded."""
        return not any(
            cell.model in (None, model)
            and cell.dataset in (None, dataset)
            and cell.method in (None, method, self.sweep_of(method))
            for cell in self.exclude
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """All problems of a benchmark's file, whatever part of them an experiment asks."""

    name: str
    recipe: BenchmarkRecipe
    problems: tuple[Problem, ...]
    """Empty where the file is not on this machine and only a plan is made."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset of an experiment, and the benchmarks that are kept out of it."""

    name: str
    recipe: DatasetRecipe
    against: tuple[Questions, ...] = ()

    @property
    def shaping(self) -> dict[str, Any]:
        """Everything that shapes its rows but names: what the id of a run hashes."""
        pins = sorted([q.recipe.source.sha256, q.recipe.split] for q in self.against)
        return self.recipe.shaping() | ({"benchmarks": pins} if pins else {})

    @property
    def digest(self) -> str:
        """12 hex digits that name the prepared rows, and the report, which tells more of them."""
        told = {
            name: [source.licence, source.attribution, source.terms]
            for name, source in self.recipe.sources.items()
        }
        names = [self.name, list(told), sorted(q.name for q in self.against)]
        return short_hash([self.shaping, self.recipe.text(), names, told])


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark of an experiment: its problems, and both parts of its contract."""

    name: str
    recipe: BenchmarkRecipe
    asking: Asking
    problems: tuple[Problem, ...]
    prompt: Prompt | None = None
    """How it is asked; None: nobody is, answers that were made elsewhere are judged."""

    @property
    def asking_content(self) -> dict[str, Any]:
        """All that shapes the answers besides the model."""
        assert self.prompt is not None, f"{self.name} is not asked, so there is no asking contract"
        sampling = self.asking.model_dump(exclude={"report", "prompt"}, mode="json")
        own = self.recipe.model_dump(include={"benchmark", "split"})
        own |= {"prompt": self.prompt.content(), "stop": list(self.stop)}
        ours = ENGINE_VERSION if self.asking.engine == ENGINE else VLLM_ASKING_VERSION
        own |= sampling | {"engine_version": ours}
        return own | self._conversion | {"sha256": self.recipe.source.sha256}

    @property
    def stop(self) -> tuple[str, ...]:
        """An answer ends before the first of these strings."""
        return self.prompt.stop(self.recipe) if self.prompt else ()

    @property
    def judging(self) -> Judging:
        """How answers are judged: by the recipe, with the code found as the prompt needs it."""
        return self.prompt.judging(self.recipe) if self.prompt else self.recipe.judge_by()

    def asked_of(self, run: "Run") -> dict[str, Any]:
        """All that shapes the answers of one run besides its model: the asking contract.

        What answers is part of it. Of a server nobody here knows the version nor the precision;
        what it says of itself is recorded with the run.
        """
        if run.model.server is None:
            return self.asking_content
        unknown = ("engine_version", "precision")
        known = {key: value for key, value in self.asking_content.items() if key not in unknown}
        return known | {"engine": HTTP}

    @property
    def _conversion(self) -> dict[str, int]:
        """Which version of ours made problems of another's test cases."""
        return {"converted": CONVERTERS_VERSION} if self.recipe.benchmark in FORMS else {}

    @property
    def judging_content(self) -> dict[str, Any]:
        """All that shapes the verdict on an answer."""
        judging = self.judging.content()
        return (
            judging
            | self._conversion
            | {
                "benchmark": self.recipe.benchmark,
                "split": self.recipe.split,
                "sha256": self.recipe.source.sha256,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What turns a base into a tuned model."""

    dataset: Dataset
    method_name: str
    method: AnyMethod
    sweep: str | None = None
    """The sweep that asks for this method."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One cell of the grid: a base model as it came, or tuned."""

    id: str
    """12 hex digits over `spec`; names never enter it."""
    spec: dict[str, Any]
    model_name: str
    model: ModelSpec
    seed: int
    training: Training | None = None
    base_id: str | None = None

    @property
    def label(self) -> str:
        """For people: model, dataset, method and seed."""
        if self.training is None:
            return f"{self.model_name} base"
        training = self.training
        return f"{self.model_name} {training.dataset.name} {training.method_name} seed {self.seed}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """A checked experiment: everything it names exists."""

    name: str
    text: str
    file: ExperimentFile
    datasets: dict[str, Dataset]
    benchmarks: tuple[Benchmark, ...]
    missing: tuple[str, ...] = ()
    """Data files that are not on this machine, and where they are published."""

    def runs(self) -> tuple[Run, ...]:
        """Every run, bases first, in the order of the file."""
        bases = {name: self._base(name) for name in self.file.models}
        wanted = tuple(bases.values()) if self.file.baseline else ()
        return wanted + tuple(self._tuned(bases))

    def _base(self, name: str) -> Run:
        model = self.file.models[name]
        spec = {"base": identity(model)}
        return Run(id=short_hash(spec), spec=spec, model_name=name, model=model, seed=0)

    def _tuned(self, bases: dict[str, Run]) -> Iterator[Run]:
        file = self.file
        tunings = file.tunings
        for name, dataset, method, seed in product(file.models, file.datasets, tunings, file.seeds):
            if not file.wants(name, dataset, method):
                continue
            base = bases[name]
            training = Training(
                dataset=self.datasets[dataset],
                method_name=method,
                method=tunings[method],
                sweep=file.sweep_of(method),
            )
            spec = base.spec | _training_spec(training, base.model, seed)
            yield Run(
                id=short_hash(spec),
                spec=spec,
                model_name=name,
                model=base.model,
                seed=seed,
                training=training,
                base_id=base.id if file.baseline else None,
            )


def short_hash(content: Any) -> str:
    """12 hex digits that name a JSON value whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def identity(model: ModelSpec) -> str:
    """What the weights are: a hub commit, a hash of the files of a folder that shape them, or what
    the owner of a server says."""
    if model.server:
        return model.server.identity
    if model.hub:
        return f"{model.hub}@{model.revision}"
    files = sorted(
        p
        for p in Path(model.location).iterdir()
        if p.suffix == ".safetensors" or shapes_text(p.name)
    )
    return short_hash({p.name: sha256_of(p) for p in files})


def _training_spec(training: Training, model: ModelSpec, seed: int) -> dict[str, Any]:
    return {
        "recipe_version": RECIPE_VERSION,
        "data": training.dataset.shaping | training.dataset.recipe.text(),
        "method": training.method.shaping(),
        "parallelism": model.parallelism.model_dump(exclude_defaults=True),
        "seed": seed,
    }
