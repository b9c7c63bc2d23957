"""Models of 7 billion parameters on one GPU: `make bench-train-gpu`.

Needs torch, transformers, peft and a CUDA GPU, and neither a network nor the rest of this project's
dependencies: `GPU_PYTHON=python make bench-train-gpu`, or `python benchmarks/train_gpu.py`, on any
such machine. Code Llama 7B, Mistral 7B and Falcon 7B are made on the GPU from their shapes, with
random weights in bfloat16. LoRA of rank 16 on all linear layers is trained on rows of lognormal
length, 161 tokens in the mean, loss on two thirds of each, by

- ours: rows packed to 8192 or 16384 tokens, as it comes and compiled;
- QLoRA: the same on 4 bits, where bitsandbytes is installed, for Code Llama at the first size;
- plain: a loop over peft and transformers, 8 rows side by side, padded to the longest.

Each keeps its activations where they fit, else computes them again (`again`). Two steps are for
warming up, three are measured: tokens of rows, padding not counted, by wall-clock time. `of the
ceiling` is the share of what the GPU does in a product of large bfloat16 matrices, 4 floating-point
operations counted for each parameter and token (the frozen weights have no gradient), attention not
counted. `predicted` is what `jobs/fit/memory.py`, by which a plan is judged, would have said.

The last lines are `figure NAME VALUE UNIT`, for the best of ours at the size where it is fastest.
Without a GPU it says so and ends well; `--tiny` runs all of it on models of toy size anywhere.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec

import torch
from train_gpu_work import LORA, QLORA, SHAPES, Measured, Work, ours, plain
from transformers import PretrainedConfig
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from jobs.training.meter import matrix_ceiling
from jobs.training.settings import ALONE, Settings

GIB = 2**30
FLOPS_PER_PARAMETER = 4


@dataclass(frozen=True, kw_only=True)
class Result:
    """One row of the table."""

    family: str
    tokens: int
    name: str
    measured: Measured
    parameters: int
    ceiling: float
    """Floating-point operations a second."""
    predicted: int | None
    """Bytes."""

    @property
    def rate(self) -> float:
        """Tokens a second."""
        return self.measured.tokens / self.measured.seconds

    @property
    def share(self) -> float:
        """Of the ceiling."""
        return FLOPS_PER_PARAMETER * self.parameters * self.rate / self.ceiling


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to train."""

    name: str
    run: Callable[[], Measured]
    settings: Settings | None = None
    """Of ours."""


def main() -> int:
    """Measure, print, and return an exit status."""
    options = _options()
    disable_progress_bar()
    set_verbosity_error()
    if not torch.cuda.is_available() and not options.tiny:
        print("train_gpu: there is no CUDA GPU here, so nothing was measured")
        return 0
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ceiling = matrix_ceiling(device, "bf16")
    name = torch.cuda.get_device_name() if device.type == "cuda" else "a CPU"
    print(f"{name}; torch {torch.__version__}; matrix ceiling {ceiling / 1e12:.4g} TFLOP/s, bf16")
    results, notes = [], _missing()
    if options.tiny:
        notes.append("these are toy models: the figures say no more than that it runs")
    sizes = [256] if options.tiny else [int(size) for size in options.tokens.split(",")]
    _print_head()
    for family in options.families.split(","):
        shape = _toy(SHAPES[family]) if options.tiny else SHAPES[family]
        for size in sizes:
            work = Work(shape=shape, tokens=size, device=device)
            for way in _ways(work, options, quantized=family == "llama" and size == sizes[0]):
                try:
                    measured = way.run()
                except torch.OutOfMemoryError:
                    notes.append(f"{family}, {size} tokens, {way.name}: does not fit this GPU")
                    continue
                results.append(
                    Result(
                        family=family,
                        tokens=size,
                        name=way.name,
                        measured=measured,
                        parameters=_parameters(shape),
                        ceiling=ceiling,
                        predicted=_predicted(shape, way.settings, measured),
                    )
                )
                _print_row(results[-1])
    for note in notes:
        print(f"note: {note}")
    _print_figures(results)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--families", default=",".join(SHAPES), help="with commas between")
    parser.add_argument("--tokens", default="8192,16384", help="of a pack, with commas between")
    parser.add_argument("--eager", action="store_true", help="leave the compiled one out")
    parser.add_argument("--tiny", action="store_true", help="toy models, on a CPU where need be")
    return parser.parse_args()


def _missing() -> list[str]:
    notes = []
    if find_spec("bitsandbytes") is None:
        notes.append("QLoRA is left out: there is no bitsandbytes here")
    try:
        import jobs.fit.memory  # noqa: F401
    except ImportError as error:
        notes.append(f"nothing is predicted: {error}")
    return notes


def _ways(work: Work, options: argparse.Namespace, *, quantized: bool) -> Iterator[Way]:
    def way(name: str, settings: Settings) -> Way:
        return Way(name=name, run=lambda: ours(work, settings), settings=settings)

    yield way("ours", work.settings(LORA))
    if not options.eager:
        yield way("ours, compiled", work.settings(LORA, compile=True))
    if quantized and find_spec("bitsandbytes") is not None:
        yield way("ours, QLoRA", work.settings(QLORA))
    yield Way(name="plain peft + transformers", run=lambda: plain(work))


def _toy(shape: PretrainedConfig) -> PretrainedConfig:
    """The same in small."""
    small = {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    small |= {"num_key_value_heads": 1, "intermediate_size": 128, "ffn_hidden_size": 256}
    given = {name: small.get(name, value) for name, value in shape.to_dict().items()}
    return type(shape)(**{name: given[name] for name in given if name != "head_dim"})


def _parameters(shape: PretrainedConfig) -> int:
    """Of the whole model; made without memory."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return sum(p.numel() for p in AutoModelForCausalLM.from_config(shape).parameters())


def _predicted(
    shape: PretrainedConfig, settings: Settings | None, measured: Measured
) -> int | None:
    """What the plan of an experiment would have said, in bytes."""
    if settings is None:
        return None
    try:
        from jobs.fit.memory import training_memory
        from jobs.fit.shapes import shape_from
    except ImportError:
        return None
    settings = replace(settings, activation_checkpointing=measured.checkpointed)
    return training_memory(shape_from(shape.to_dict()), settings, ALONE, gpu=True).total


def _print_head() -> None:
    print(
        f"\n{'model':9}{'tokens':>7}  {'':27}{'tokens/s':>10}{'of the ceiling':>16}"
        f"{'warm-up s':>11}{'peak GiB':>10}{'predicted':>11}  activations"
    )


def _print_row(result: Result) -> None:
    measured = result.measured
    peak = f"{measured.bytes / GIB:.1f}" if measured.bytes else "-"
    predicted = f"{result.predicted / GIB:.1f}" if result.predicted else "-"
    print(
        f"{result.family:9}{result.tokens:>7}  {result.name:27}{result.rate:>10.0f}"
        f"{100 * result.share:>14.2f} %{measured.warm_seconds:>11.1f}{peak:>10}{predicted:>11}"
        f"  {'again' if measured.checkpointed else 'kept'}",
        flush=True,
    )


def _print_figures(results: list[Result]) -> None:
    """The lines that other tools read."""
    for family in dict.fromkeys(result.family for result in results):
        rows = [result for result in results if result.family == family]
        mine = [row for row in rows if row.name in ("ours", "ours, compiled")]
        if not mine:
            continue
        best = max(mine, key=lambda row: row.rate)
        print(f"figure train_gpu_tokens_per_second_{family} {best.rate:.0f} tokens/s")
        print(f"figure train_gpu_mfu_{family} {best.share:.4f} share")
        for peer in rows:
            if peer.name.startswith("plain") and peer.tokens == best.tokens:
                print(f"figure train_gpu_vs_plain_{family} {best.rate / peer.rate:.3f} ratio")
        if best.predicted and best.measured.bytes:
            ratio = best.predicted / best.measured.bytes
            print(f"figure train_gpu_memory_predicted_{family} {ratio:.3f} ratio")


if __name__ == "__main__":
    sys.exit(main())
