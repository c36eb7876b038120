"""Answering speed of csift against the original's way, on the same prompts of the bundled catalogue, interleaved in one run.

    python bench/evaluate.py [--seed N] [--turns N] [--quick]

The original's way: one question after another, each its own call of transformers' `generate`, float32. Both sides answer with the
same sft adapter, merged, on the same threads, and write 48 new tokens to every question: the model is told of no end, and what
comes after an answer's end is cut off before answers are compared. The standard program shows three chunks of 900 characters; the
optimised one shows besides 4 bootstrapped demonstrations, with three chunks each, and 16 labelled ones.

  ratio_standard, ratio_optimised  questions a second, csift's engine against the original's way, of the median turn
  identical_share                  of the questions that both sides answered: the same answer, greedily
  concurrent_share                 questions a second of 32 concurrent DSPy calls (dspy.Parallel on the program, retrieval and
                                   ledger included) against the engine given the same prompts in one list; standard program
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
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

NEW = 48  # tokens
ASKED = 32  # questions of the engine in a turn, and DSPy calls at once
ONE_BY_ONE = {"standard": 8, "optimised": 3}  # questions of the original's way in a turn
BOOTSTRAPPED, LABELLED = 4, 16
STEPS = 24
UNUSED = "<|endoftext|>"  # ends no turn of this model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a tiny random model; its figures mean nothing")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="csift-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["CSIFT_DATA_DIR"] = str(folder)
    figures = Speed(folder, args.seed, args.quick).measure(1 if args.quick else args.turns)
    if args.quick:
        print("--quick: a tiny random model, the figures mean nothing")
    print(json.dumps(figures))


class Speed:
    """Both ways on one set of prompts."""

    def __init__(self, folder: Path, seed: int, quick: bool) -> None:
        from bench.tiny import tiny_model
        from csift.inference import LocalEngine
        from csift.models import quiet_libraries, resolve, use_threads
        from csift.settings import settings

        quiet_libraries()
        self.threads = settings().threads
        use_threads(self.threads)
        self.folder, self.seed = folder, seed
        base = resolve(str(tiny_model(folder, seed)) if quick else "smollm2-135m-instruct", folder)
        self.questions, self.demonstrations, self.index, rows = self._read()
        self.base = self._endless(base)
        self.adapter = self._adapter(rows, 2 if quick else STEPS)
        self.engine = LocalEngine(self.base, self.threads)
        self.model, self.tokenizer = self._float32()

    def measure(self, turns: int) -> dict[str, Any]:
        programs = {"standard": self._program(0), "optimised": self._program(1)}
        prompts = {name: [self._prompt(program, question) for question in self.questions] for name, program in programs.items()}
        rates: dict[str, list[float]] = {}
        same: list[bool] = []

        def timed(name: str, work: Callable[[list[Any]], list[str]], asked: list[Any]) -> list[str]:
            began = time.perf_counter()
            answers = work(asked)
            rates.setdefault(name, []).append(len(asked) / (time.perf_counter() - began))
            print(f"{name}: {rates[name][-1]:.3f} questions/s ({len(asked)} questions)", flush=True)
            return answers

        for side in (self._by_engine, self._one_by_one):  # loads and warms up
            side(prompts["standard"][-1:])
        for turn in range(turns):
            for name in programs:
                asked = prompts[name][turn * ASKED : (turn + 1) * ASKED]
                few = asked[: ONE_BY_ONE[name]]
                ways = [(f"{name}, csift", self._by_engine, asked), (f"{name}, one by one", self._one_by_one, few)]
                told = {way: timed(way, work, given) for way, work, given in (ways if turn % 2 == 0 else ways[::-1])}
                same += [a == b for a, b in zip(told[ways[0][0]], told[ways[1][0]], strict=False)]
            timed(
                "standard, 32 DSPy calls", lambda given: self._by_dspy(programs["standard"], given),
                self.questions[turn * ASKED : (turn + 1) * ASKED],
            )  # fmt: skip
        rate = {name: median(told) for name, told in rates.items()}
        return {
            "ratio_standard": round(rate["standard, csift"] / rate["standard, one by one"], 2),
            "ratio_optimised": round(rate["optimised, csift"] / rate["optimised, one by one"], 2),
            "identical_share": round(sum(same) / len(same), 3),
            "concurrent_share": round(rate["standard, 32 DSPy calls"] / rate["standard, csift"], 3),
            "compared": len(same),
            "new_tokens": NEW,
            "prompt_tokens": {name: self._length(given) for name, given in prompts.items()},
        }

    def _read(self) -> tuple[list[str], list[Any], Any, list[Any]]:
        from csift.corpus import Document, chunk
        from csift.prompts import answer_prompt, join_excerpts
        from csift.rag.compiled import Demonstration
        from csift.retrieval import ChromaIndex, minilm
        from csift.schemas import Chunking
        from csift.training import TrainingRow

        cutting = Chunking(size=900, overlap=100)
        pieces = [
            piece
            for path in sorted((ROOT / "examples" / "catalogue-1").glob("*.md"))
            for piece in chunk(Document(path.name, path.read_text()), cutting)
        ]
        index = ChromaIndex(self.folder / "index", "bench", minilm(self.threads))
        index.sync("bench", pieces)
        rows = [json.loads(line) for line in (ROOT / "examples" / "questions-1.jsonl").read_text().splitlines()]
        rows = [row for row in rows if row["answer"]]
        asked = [row["question"] for row in rows if row["split"] == "eval"]
        train = [row for row in rows if row["split"] == "train"]
        found = index.search([row["question"] for row in train], 3)
        shown = [
            Demonstration(
                question=row["question"], answer=row["answer"],
                excerpts=join_excerpts([hit.text for hit in hits]) if place < BOOTSTRAPPED else None,
            )
            for place, (row, hits) in enumerate(zip(train[: BOOTSTRAPPED + LABELLED], found, strict=False))
        ]  # fmt: skip
        pairs = [
            TrainingRow(answer_prompt(row["question"], [hits[0].text]), row["answer"], row["id"])
            for row, hits in zip(train, found, strict=True)
        ]
        return asked, shown, index, pairs

    def _endless(self, base: Any) -> Any:
        """The base model without an end of answers."""
        from csift.inference import load_tokenizer
        from csift.models import resolve

        folder = self.folder / "endless"
        shutil.copytree(base.path, folder)
        told = json.loads((folder / "generation_config.json").read_text())
        told["eos_token_id"] = load_tokenizer(base).convert_tokens_to_ids(UNUSED)
        (folder / "generation_config.json").write_text(json.dumps(told))
        return resolve(str(folder), self.folder)

    def _adapter(self, rows: Sequence[Any], steps: int) -> str:
        from csift.config import TrainingConfig
        from csift.storage import LocalStore
        from csift.training import Run, TrainingData, train

        config = TrainingConfig(base_model=self.base.name, max_steps=steps, checkpoint_every=10**6, seed=self.seed)
        store = LocalStore(self.folder / "artifacts")
        made = train(Run(self.base, TrainingData(pairs=list(rows)), "bench", config, store, self.folder / "work", self.threads))
        return str(store.open_artifact(made.artifact))

    def _float32(self) -> tuple[Any, Any]:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        from csift.inference import load_tokenizer

        model = AutoModelForCausalLM.from_pretrained(self.base.path, dtype=torch.float32)
        return PeftModel.from_pretrained(model, self.adapter).merge_and_unload().eval(), load_tokenizer(self.base)

    def _program(self, shown: int) -> Any:
        from csift.prompts import FORMAT_VERSION, answer_signature
        from csift.rag import optimised_program, standard_program
        from csift.rag.compiled import Compiled

        if not shown:
            return standard_program(self.index, 3)
        compiled = Compiled(
            optimiser="bench", format=FORMAT_VERSION, instructions=answer_signature().instructions,
            demonstrations=tuple(self.demonstrations),
        )  # fmt: skip
        return optimised_program(self.index, 3, compiled)

    def _prompt(self, program: Any, question: str) -> Any:
        from csift.prompts import join_excerpts, plain_adapter

        shown = join_excerpts([hit.text for hit in self.index.search([question], 3)[0]])
        asked = {"excerpts": shown, "question": question}
        return plain_adapter().format(program.answer.signature, program.answer.demos, asked)

    def _by_engine(self, prompts: list[Any]) -> list[str]:
        from csift.schemas import GenerationParams

        params = GenerationParams(max_new_tokens=NEW)
        return [answer.text for answer in self.engine.generate(prompts, params, self.adapter)]

    def _one_by_one(self, prompts: list[Any]) -> list[str]:
        import torch

        answers = []
        for prompt in prompts:
            text = self.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True)
            asked = self.tokenizer(text, add_special_tokens=False, return_tensors="pt")
            with torch.inference_mode():
                out = self.model.generate(**asked, max_new_tokens=NEW, do_sample=False, pad_token_id=self.tokenizer.pad_token_id)
            new = out[0, asked["input_ids"].shape[1] :].tolist()
            assert len(new) == NEW
            end = new.index(self.tokenizer.eos_token_id) if self.tokenizer.eos_token_id in new else len(new)
            answers.append(self.tokenizer.decode(new[:end], skip_special_tokens=True).strip())
        return answers

    def _by_dspy(self, program: Any, questions: list[str]) -> list[str]:
        import dspy

        from csift.db import database
        from csift.ledger import Ledger
        from csift.llm import local_model

        model = local_model(self.engine, Ledger(database()), "bench", self.adapter, "bench")
        parallel = dspy.Parallel(num_threads=ASKED, disable_progress_bar=True)
        program.answer.config = {"max_tokens": NEW}
        with dspy.context(lm=model.lm, adapter=model.adapter, disable_history=True):
            told = parallel([(program, {"question": question}) for question in questions])
        return [answer.answer for answer in told]

    def _length(self, prompts: Sequence[Any]) -> int:
        """Of the median prompt, in tokens."""
        texts = [self.tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True) for prompt in prompts]
        return int(median(len(self.tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts))


if __name__ == "__main__":
    main()
