"""What each training method does on the bundled catalogue, from the same base and seed, on documents that it never saw.

    python bench/methods.py [--methods a,b] [--seed N] [--quick]

Prompts show the three chunks that the retriever finds. A preference pair is the right answer and a wrong one that the model which
learns from it gives itself, greedily or sampled: the base for orpo, the sft adapter for dpo and kto; a reward model, which is to
rank the answers of any policy, learns from those of both. Scores, each with a 95% interval over held-out questions (bootstrap):

  cpt     nats per token saved on the text of unseen documents, against the base
  sft     accuracy gained by the reference judge, against the base
  dpo     preferred-answer rate gained on held-out pairs, against the sft adapter that it starts from; kto likewise
  orpo    the same against the base, which it starts from
  reward  share of held-out pairs in which the right answer scores higher
  ppo     mean reward gained on held-out prompts by the reward model, against the sft adapter; grpo and rloo likewise by the
          verifiable reward (token F1 with the right answer, and 1 more when it is that answer)

An answer is preferred when its log-probability per token is the higher (summed, it would favour short answers). A question counts
once, whatever the number of its pairs; `start` is the rate, or the mean reward, before. Mean reward is that of answers sampled as
in training, four a question, since that is what ppo, grpo and rloo raise; `greedy` is the gain of the greedy answers, with its
interval. The accuracy of sft is that of greedy answers.
`seconds` are those of training, `peak_gb` is the most memory of a method's own process, `adapter_mb` the size of the adapter's
weights.
"""

import argparse
import atexit
import json
import logging
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

METHODS = ("cpt", "sft", "dpo", "orpo", "kto", "reward", "ppo", "grpo", "rloo")
STEPS = {"cpt": 20, "sft": 60, "dpo": 30, "orpo": 40, "kto": 60, "reward": 90, "ppo": 24, "grpo": 24, "rloo": 24}
ROWS = {"cpt": 2, "ppo": 8, "grpo": 16, "rloo": 16}  # a step; of the others 4
FROM_SFT = ("dpo", "kto", "reward", "ppo", "grpo", "rloo")
MISTAKES = {"orpo": ("base",), "dpo": ("sft",), "kto": ("sft",), "reward": ("base", "sft")}  # whose wrong answers it learns from
SAMPLED = (0.0, 0.7, 1.0)  # temperatures at which a model is asked for wrong answers
RATES = {"dpo": 5e-5, "kto": 2e-4, "ppo": 5e-4, "grpo": 5e-4, "rloo": 5e-4}  # csift's defaults are for larger models, more steps
DRAWN = 4  # answers a held-out question when the mean reward is taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", default=",".join(METHODS), help="some of " + ",".join(METHODS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny random model, two steps; its figures mean nothing")
    args = parser.parse_args()
    wanted = [method for method in METHODS if method in args.methods.split(",")]
    if not wanted or set(args.methods.split(",")) - set(METHODS):
        parser.error(f"--methods takes some of {','.join(METHODS)}")
    folder = Path(tempfile.mkdtemp(prefix="csift-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["CSIFT_DATA_DIR"] = str(folder)
    first = [needed for needed in ("sft", "reward") if needed not in wanted and _needs(wanted, needed)]
    figures = {}
    for method in [*first, *wanted]:
        # Each in a process of its own, so that its memory is its own; what later ones need lies in the folder.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            told = pool.apply(_measure, (method, folder, args.seed, args.quick))
        print(f"{method}: {told}", flush=True)
        if method in wanted:
            figures[method] = told
    if args.quick:
        print("--quick: a tiny random model, the figures mean nothing")
    print(json.dumps(figures))


def _needs(wanted: Sequence[str], method: str) -> bool:
    return bool(set(wanted) & set(FROM_SFT)) if method == "sft" else "ppo" in wanted


def _measure(method: str, folder: Path, seed: int, quick: bool) -> dict[str, float]:
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    return Bench(folder, seed, quick).measure(method)


class Bench:
    """One method at a time on the catalogue."""

    def __init__(self, folder: Path, seed: int, quick: bool) -> None:
        from bench.tiny import tiny_model
        from csift.inference import LocalEngine, load_tokenizer
        from csift.models import quiet_libraries, resolve, use_threads
        from csift.retrieval import minilm
        from csift.settings import settings

        quiet_libraries()
        self.threads = settings().threads
        use_threads(self.threads)
        self.folder, self.seed, self.quick = folder, seed, quick
        self.besides: dict[str, Any] = {}  # what is printed beside the score
        self.base = resolve(str(tiny_model(folder, seed)) if quick else "smollm2-135m-instruct", folder)
        self.tokenizer = load_tokenizer(self.base)
        self.engine = LocalEngine(self.base, self.threads)
        self.embedder = minilm(self.threads)
        self._read()

    def measure(self, method: str) -> dict[str, float]:
        if method in MISTAKES:
            self._compare(MISTAKES[method])
        began = time.perf_counter()
        adapter = self._train(method)
        seconds = time.perf_counter() - began
        score: Callable[[Path], list[float]] = {
            "cpt": self._saved, "sft": self._accuracy, "reward": self._ranked, "ppo": self._rewarded,
            "grpo": self._rewarded_by_gold, "rloo": self._rewarded_by_gold,
        }.get(method, self._preferred_gain(method))  # fmt: skip
        value, low, high = _interval(score(adapter), self.seed)
        size = (adapter / "adapter_model.safetensors").stat().st_size / 1e6
        return {
            "score": value, "low": low, "high": high, **self.besides, "seconds": round(seconds, 1),
            "peak_gb": round(_peak_gb(), 2), "adapter_mb": round(size, 1),
        }  # fmt: skip

    def _train(self, method: str) -> Path:
        from csift.config import TrainingConfig
        from csift.interfaces import no_progress
        from csift.storage import LocalStore
        from csift.training.checkpoints import Checkpoints
        from csift.training.stage import Stage, fit_stage

        samples = 8 if method in ("grpo", "rloo") else 4
        config = TrainingConfig(
            base_model=self.base.name,
            methods=("reward", "ppo") if method in ("reward", "ppo") else (method,),
            max_steps=2 if self.quick else STEPS[method],
            batch_size=ROWS.get(method, 4),
            samples=samples,
            answer_tokens=8 if self.quick else 24,
            preference_rate=RATES.get(method, 5e-5),
            online_rate=RATES.get(method, 5e-5),
            max_length=512 if method == "cpt" else 1024,
            checkpoint_every=10**6,
            seed=self.seed,
        )
        stage = Stage(
            base=self.base,
            method=method,  # type: ignore[arg-type]
            rows=tuple(self.train.rows(method)),  # type: ignore[arg-type]
            config=config,
            micro_batch=config.batch_size,
            threads=self.threads,
            scratch=self.folder / "scratch" / method,
            checkpoints=Checkpoints(LocalStore(self.folder / "artifacts"), method, "bench"),
            policy=self._trained("sft") if method in FROM_SFT else None,
            reward=self._trained("reward") if method == "ppo" else None,
        )
        fit_stage(stage, lambda point: None, no_progress)
        # As an adapter that is published: it says what it was trained on.
        told = {"base_model": self.base.name, "base_revision": self.base.revision}
        (stage.output / "manifest.json").write_text(json.dumps(told))
        return stage.output

    def _trained(self, method: str) -> Path:
        return self.folder / "scratch" / method / "adapter"

    def _read(self) -> None:
        import numpy as np

        from csift.corpus import Document, chunk
        from csift.prompts import answer_prompt
        from csift.schemas import Chunking
        from csift.training import PromptRow, TextRow, TrainingData, TrainingRow

        rows = [json.loads(line) for line in (ROOT / "examples" / "questions-1.jsonl").read_text().splitlines()]
        texts = {path.name: path.read_text() for path in sorted((ROOT / "examples" / "catalogue-1").glob("*.md"))}
        unseen = {row["document"] for row in rows if row["split"] != "train"}
        cutting = Chunking(size=450, overlap=60)
        chunks = [piece.text for name, text in texts.items() for piece in chunk(Document(name, text), cutting)]
        vectors, asked = self.embedder.embed(chunks), self.embedder.embed([row["question"] for row in rows])
        near = np.argsort(-(asked @ vectors.T), axis=1, kind="stable")[:, :3]

        def data(split: str) -> list[TrainingRow]:
            mine = [i for i, row in enumerate(rows) if row["split"] == split and row["answer"]]
            prompts = {i: answer_prompt(rows[i]["question"], [chunks[j] for j in near[i]]) for i in mine}
            return [TrainingRow(prompts[i], rows[i]["answer"], rows[i]["id"]) for i in mine]

        pairs = data("train")
        self.train = TrainingData(
            texts=[TextRow(text, name) for name, text in texts.items() if name not in unseen],
            pairs=pairs,
            prompts=[PromptRow(row.prompt, row.completion, row.id) for row in pairs],
        )
        self.held = [PromptRow(row.prompt, row.completion, row.id) for row in data("eval")[: 8 if self.quick else None]]
        self.questions = {row["id"]: row["question"] for row in rows}
        self.unseen = [TextRow(texts[name], name) for name in sorted(unseen)]

    def _compare(self, sources: Sequence[str]) -> None:
        """Pairs of the right answers and the models' own wrong ones, of training and of held-out questions; asked for once."""
        from csift.inference import LocalEngine
        from csift.training import PreferenceRow, unpaired

        made: list[list[Any]] = [[], []]
        for source in sources:
            kept = self.folder / f"pairs-{source}.json"
            if not kept.exists():
                adapter = self._trained("sft") if source == "sft" else None
                told = [[asdict(pair) for pair in self._pairs(adapter, rows)] for rows in (self.train.prompts, self.held)]
                kept.write_text(json.dumps(told))
                self.engine = LocalEngine(self.base, self.threads)  # frees its weights before training
            for rows, more in zip(made, json.loads(kept.read_text()), strict=True):
                rows += more
        preferences, self.held_pairs = ([PreferenceRow(**row) for row in rows] for rows in made)
        self.train = replace(self.train, preferences=preferences, ratings=unpaired(preferences))

    def _pairs(self, adapter: Path | None, rows: Sequence[Any]) -> list[Any]:
        from csift.textmatch import normalise
        from csift.training import PreferenceRow

        said: dict[tuple[str, str], tuple[Any, str]] = {}
        for temperature in SAMPLED:
            for row, text in zip(rows, self._answers(adapter, rows, temperature), strict=True):
                if text.strip():
                    said.setdefault((row.id, normalise(text)), (row, text))
        return [
            PreferenceRow(row.prompt, row.gold, text, row.id)
            for (row, text), right in zip(said.values(), self._right(list(said.values())), strict=True)
            if not right
        ]

    def _right(self, answers: Sequence[tuple[Any, str]]) -> list[bool]:
        from csift.judges import ReferenceJudge
        from csift.schemas import Failure, JudgeItem

        items = [JudgeItem(question=self.questions[row.id], gold=row.gold, answer=text, contexts=()) for row, text in answers]
        scores = ReferenceJudge(self.embedder, 0.6).judge(items)
        failed = [score for score in scores if isinstance(score, Failure)]
        if failed:
            raise RuntimeError(f"{len(failed)} answers could not be judged: {failed[0].message}")
        return [score.correct for score in scores if not isinstance(score, Failure)]

    def _saved(self, adapter: Path) -> list[float]:
        """Nats a token saved on each block of unseen text."""
        from csift.training.fitting import blocks

        cut = blocks(self.tokenizer, self.unseen, 512)
        losses = [self._log_probs(which, [(ids[:1], ids[1:]) for ids in cut]) for which in (None, adapter)]
        return [(after - before) / (len(ids) - 1) for before, after, ids in zip(losses[0], losses[1], cut, strict=True)]

    def _accuracy(self, adapter: Path) -> list[float]:
        def correct(which: Path | None) -> list[float]:
            return [float(right) for right in self._right(list(zip(self.held, self._answers(which, self.held), strict=True)))]

        return _gains(correct(None), correct(adapter))

    def _preferred_gain(self, method: str) -> Callable[[Path], list[float]]:
        def gain(adapter: Path) -> list[float]:
            before = self._preferred(self._trained("sft") if method in FROM_SFT else None)
            self.besides["start"] = round(sum(before) / len(before), 4)
            return _gains(before, self._preferred(adapter))

        return gain

    def _preferred(self, adapter: Path | None) -> list[float]:
        sides = [self._encoded(row.prompt, answer) for row in self.held_pairs for answer in (row.chosen, row.rejected)]
        told = self._log_probs(adapter, sides)
        per_token = [total / len(answer) for total, (_, answer) in zip(told, sides, strict=True)]
        return self._by_question([float(a > b) for a, b in zip(per_token[::2], per_token[1::2], strict=True)])

    def _by_question(self, values: Sequence[float]) -> list[float]:
        """One number a question: the mean of those of its pairs."""
        by: dict[str, list[float]] = {}
        for row, value in zip(self.held_pairs, values, strict=True):
            by.setdefault(row.id, []).append(value)
        return [sum(own) / len(own) for own in by.values()]

    def _ranked(self, adapter: Path) -> list[float]:
        from csift.training.rewards import RewardModel

        model = RewardModel(self.base, adapter, self.tokenizer)
        rows: Any = self.held_pairs
        chosen, rejected = (model.score(rows, [getattr(row, side) for row in rows]) for side in ("chosen", "rejected"))
        return self._by_question([float(a > b) for a, b in zip(chosen, rejected, strict=True)])

    def _rewarded(self, adapter: Path) -> list[float]:
        from csift.training.rewards import RewardModel

        return self._by(RewardModel(self.base, self._trained("reward"), self.tokenizer), adapter)

    def _rewarded_by_gold(self, adapter: Path) -> list[float]:
        from csift.training.rewards import GoldReward

        return self._by(GoldReward(), adapter)

    def _by(self, reward: Any, adapter: Path) -> list[float]:
        import numpy as np

        greedy = [np.array(reward.score(self.held, self._answers(which, self.held))) for which in (self._trained("sft"), adapter)]
        self.besides["greedy"] = _interval((greedy[1] - greedy[0]).tolist(), self.seed)
        rows = [row for row in self.held for _ in range(DRAWN)]
        before, after = (
            np.array(reward.score(rows, self._answers(which, rows, 1.0))).reshape(-1, DRAWN).mean(1)
            for which in (self._trained("sft"), adapter)
        )
        self.besides["start"] = round(float(before.mean()), 4)
        return (after - before).tolist()  # type: ignore[no-any-return]

    def _answers(self, adapter: Path | None, rows: Sequence[Any], temperature: float = 0.0) -> list[str]:
        from csift.schemas import GenerationParams

        params = GenerationParams(max_new_tokens=8 if self.quick else 32, temperature=temperature, seed=self.seed)
        return [g.text for g in self.engine.generate([r.prompt for r in rows], params, str(adapter) if adapter else None)]

    def _encoded(self, prompt: Any, answer: str) -> tuple[list[int], list[int]]:
        def tokens(chat: list[Any], **told: bool) -> list[int]:
            text = self.tokenizer.apply_chat_template(chat, tokenize=False, **told)
            return self.tokenizer(text, add_special_tokens=False)["input_ids"]

        asked = tokens(list(prompt), add_generation_prompt=True)
        return asked, tokens([*prompt, {"role": "assistant", "content": answer}])[len(asked) :]

    def _log_probs(self, adapter: Path | None, rows: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        """Log-probability (nats) of each continuation, summed over its tokens."""
        import torch

        from csift.inference import load
        from csift.training.answer_head import IGNORED, score

        model, _ = load(self.base, str(adapter) if adapter else None)
        told = {}
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i][0]), rows[i]))  # a prompt in a batch is computed once
        for begin in range(0, len(order), 8):
            part = order[begin : begin + 8]
            width = max(sum(map(len, rows[i])) for i in part)
            ids = torch.zeros(len(part), width, dtype=torch.long)
            seen, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
            for place, i in enumerate(part):
                asked, answer = rows[i]
                ids[place, : len(asked) + len(answer)] = torch.tensor([*asked, *answer])
                seen[place, : len(asked) + len(answer)] = 1
                labels[place, len(asked) : len(asked) + len(answer)] = torch.tensor(answer)
            with torch.inference_mode():
                scored = score(model, ids, seen, labels).log_probs.sum(1)
            told.update(zip(part, scored.tolist(), strict=True))
        return [told[i] for i in range(len(rows))]


def _gains(before: Sequence[float], after: Sequence[float]) -> list[float]:
    return [b - a for a, b in zip(before, after, strict=True)]


def _interval(values: Sequence[float], seed: int) -> tuple[float, float, float]:
    import numpy as np

    numbers = np.array(values)
    draws = np.random.default_rng(seed).integers(0, len(numbers), (10_000, len(numbers)))
    low, high = np.percentile(numbers[draws].mean(axis=1), [2.5, 97.5])
    return round(float(numbers.mean()), 4), round(float(low), 4), round(float(high), 4)


def _peak_gb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


if __name__ == "__main__":
    main()
