"""Training speed of csift against plain trl with its defaults, on the same rows, interleaved in one run.

    python bench/train.py [--seed N] [--steps N] [--turns N] [--quick]

Rows are the bundled catalogue's training questions with three chunks each, in the prompt of serving; for dpo each with the right
answer and that of another question. Both sides train the same LoRA (rank 16, all linear layers) of the bundled model from the
same start, with the same batches of rows, the same optimiser and learning rates; plain trl is SFTTrainer and DPOTrainer as they
come, but for the CPU (use_cpu) and a row order that is given to both. Tokens are those of the prompts and answers, without
padding. A turn runs each side once, in alternating order; the ratio is that of the median rates. The first step of a run
warms up and is not timed.

Losses: after the same rows both print their mean loss over the run; `sft_loss_gap` and `dpo_loss_gap` are the differences.
"""

import argparse
import atexit
import json
import logging
import os
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")
WARM_UP = 1
BATCH = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=2, help="timed steps of a run")
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a tiny random model; its figures mean nothing")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="csift-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["CSIFT_DATA_DIR"] = str(folder)
    figures = Speed(folder, args.seed, 4 if args.quick else args.steps, args.quick).measure(1 if args.quick else args.turns)
    if args.quick:
        print("--quick: a tiny random model, the figures mean nothing")
    print(json.dumps(figures))


class Speed:
    """Both sides on one set of rows."""

    def __init__(self, folder: Path, seed: int, steps: int, quick: bool) -> None:
        from bench.tiny import tiny_model
        from csift.inference import load_tokenizer
        from csift.models import quiet_libraries, resolve, use_threads
        from csift.settings import settings

        quiet_libraries()
        use_threads(settings().threads)
        self.folder, self.seed, self.steps = folder, seed, steps + WARM_UP
        self.base = resolve(str(tiny_model(folder, seed)) if quick else "smollm2-135m-instruct", folder)
        self.tokenizer = load_tokenizer(self.base)
        self.pairs, self.preferences = catalogue_rows(folder)
        self.runs = 0

    def measure(self, turns: int) -> dict[str, Any]:
        figures: dict[str, Any] = {}
        for method in ("sft", "dpo"):
            rates: dict[str, list[float]] = {"csift": [], "trl": []}
            losses: dict[str, float] = {}
            for turn in range(turns):
                for side in ("csift", "trl") if turn % 2 == 0 else ("trl", "csift"):
                    rate, losses[side] = self._run(method, side)
                    rates[side].append(rate)
                    print(f"{method} {side}: {rate:.0f} tokens/s, mean loss {losses[side]:.4f}", flush=True)
            figures[f"{method}_ratio"] = round(median(rates["csift"]) / median(rates["trl"]), 3)
            figures[f"{method}_tokens_per_s"] = round(median(rates["csift"]), 1)
            figures[f"{method}_peer_tokens_per_s"] = round(median(rates["trl"]), 1)
            figures[f"{method}_loss_gap"] = round(losses["csift"] - losses["trl"], 4)
        return {**figures, "peak_gb": round(_peak_gb(), 2)}

    def _run(self, method: str, side: str) -> tuple[float, float]:
        """(tokens a second, mean loss)."""
        self.runs += 1
        trainer = self._ours(method) if side == "csift" else self._plain(method)
        clock = _Clock()
        trainer.add_callback(clock.callback())
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        tokens = self._tokens(method, WARM_UP, self.steps)
        return tokens / (sum(clock.seconds[WARM_UP:]) + self.reference), sum(losses) / len(losses)

    def _tokens(self, method: str, first: int, last: int) -> int:
        """Tokens of the rows of these steps; dpo's are those of both chats of a pair."""
        rows = self._rows(method)
        sizes = [self._size(row) for row in rows]
        return sum(sizes[index] for index in self._order(method)[first * BATCH : last * BATCH])

    def _size(self, row: dict[str, Any]) -> int:
        answers = [row[name] for name in ("completion", "chosen", "rejected") if name in row]
        chats = [[*row["prompt"], *answer] for answer in answers]
        return sum(len(self.tokenizer(self.tokenizer.apply_chat_template(c, tokenize=False))["input_ids"]) for c in chats)

    def _rows(self, method: str) -> list[dict[str, Any]]:
        def said(text: str) -> list[dict[str, str]]:
            return [{"role": "assistant", "content": text}]

        if method == "sft":
            return [{"prompt": list(row.prompt), "completion": said(row.completion)} for row in self.pairs]
        return [
            {"prompt": list(row.prompt), "chosen": said(row.chosen), "rejected": said(row.rejected)} for row in self.preferences
        ]

    def _order(self, method: str) -> list[int]:
        from csift.training.order import order

        return order([self._size(row) for row in self._rows(method)], BATCH, self.seed, 0)

    def _config(self, method: str) -> Any:
        from csift.config import TrainingConfig

        return TrainingConfig(
            base_model=self.base.name,
            methods=(method,),
            max_steps=self.steps,
            batch_size=BATCH,
            checkpoint_every=10**6,
            seed=self.seed,
        )

    def _ours(self, method: str) -> Any:
        from csift.storage import LocalStore
        from csift.training.adapters import start
        from csift.training.checkpoints import Checkpoints
        from csift.training.rewards import GoldReward
        from csift.training.setup import Setup
        from csift.training.stage import trainers

        config = self._config(method)
        work = self.folder / f"run-{self.runs}"
        setup = Setup(
            base=self.base,
            model=start(self.base, config, None),
            tokenizer=self.tokenizer,
            config=config,
            work=work,
            checkpoints=Checkpoints(LocalStore(self.folder / "artifacts"), method, "bench"),
            micro_batch=BATCH,
            reward=GoldReward(),
            gpu=False,
        )
        began = time.perf_counter()
        trainer = trainers()[method](setup, self.pairs if method == "sft" else self.preferences)
        # Where the reference's log-probabilities are computed before the first step, that time is the steps'.
        ahead = time.perf_counter() - began if getattr(trainer, "precompute_ref_logps", False) else 0.0
        self.reference = ahead * (self.steps - WARM_UP) * BATCH / len(self.preferences)
        return _in_order(trainer, self._order(method))

    def _plain(self, method: str) -> Any:
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoModelForCausalLM
        from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

        kind, arguments = {"sft": (SFTTrainer, SFTConfig), "dpo": (DPOTrainer, DPOConfig)}[method]
        config = self._config(method)
        self.reference = 0.0
        trainer = kind(
            model=AutoModelForCausalLM.from_pretrained(self.base.path),
            args=arguments(
                output_dir=str(self.folder / f"run-{self.runs}"),
                max_steps=self.steps,
                per_device_train_batch_size=BATCH,
                learning_rate=config.learning_rate if method == "sft" else config.preference_rate,
                seed=self.seed,
                use_cpu=True,
                logging_steps=1,
                report_to=[],
                disable_tqdm=True,
                save_strategy="no",
            ),
            train_dataset=Dataset.from_list(self._rows(method)),
            processing_class=self.tokenizer,
            peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"),
        )
        return _in_order(trainer, self._order(method))


class _Clock:
    """Wall seconds of each step."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def callback(self) -> Any:
        from transformers import TrainerCallback

        clock = self

        class Timer(TrainerCallback):
            def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                clock.seconds.append(-time.perf_counter())

            def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                clock.seconds[-1] += time.perf_counter()

        return Timer()


def catalogue_rows(folder: Path) -> tuple[list[Any], list[Any]]:
    """(training rows, preference rows) of the bundled catalogue: three chunks of the document, the right answer, another."""
    from csift.corpus import Document, chunk
    from csift.prompts import answer_prompt
    from csift.schemas import Chunking
    from csift.training import PreferenceRow, TrainingRow

    documents = ROOT / "examples" / "catalogue-1"
    chunks = {
        path.name: [piece.text for piece in chunk(Document(path.name, path.read_text()), Chunking(size=450, overlap=60))]
        for path in sorted(documents.glob("*.md"))
    }
    rows = [json.loads(line) for line in (ROOT / "examples" / "questions-1.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == "train" and row["answer"]]
    pairs, preferences = [], []
    for number, row in enumerate(rows):
        prompt = answer_prompt(row["question"], chunks[row["document"]][:3])
        other = rows[(number + 7) % len(rows)]["answer"]
        pairs.append(TrainingRow(prompt, row["answer"], row["id"]))
        preferences.append(PreferenceRow(prompt, row["answer"], other, row["id"]))
    return pairs, preferences


def _in_order(trainer: Any, order: list[int]) -> Any:
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer._get_train_sampler = lambda *_: order
    return trainer


def _peak_gb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
