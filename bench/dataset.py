"""How fast and how right questions are deduplicated, and how many planted leaks the firewall finds.

    python bench/dataset.py [--quick] [--seed N] [--leaks FILE] [--data DIR or FILE.jsonl] [--refit FILE]

Deduplication: 130,000 made questions, of which a tenth are near-copies of others (dedup_found: the share of them dropped) and a
tenth others with a name changed (dedup_kept: the share kept of all that are no copies); beside it SemHash in its own default way
on the same static model. Text in, kept indices out, encoding included; the model is loaded, and was distilled before
(distil_seconds).

Leaks: bench/leaks.jsonl, 500 pairs {kind: copy, paraphrase, reordered, number_changed; a, b}, a changed number or name being no
leak. leak_* is the shipped scorer on --leaks or --data FILE.jsonl. The shipped scorer was fitted on bench/leaks.jsonl, so on
that file leak_* is cross-fitted instead: each half, parted by source question, is judged by a scorer fitted on the other.
leak_unrelated_share is what it says of pairs of questions from different rows. --data DIR adds the questions of DIR/aws/qa.jsonl
and their paraphrases, all against all (aws_*). --refit FILE writes the scorer fitted on all pairs to FILE and ends.

--quick takes 13,000 questions and random word-piece vectors: its dedup figures mean nothing.
"""

import argparse
import json
import logging
import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

LEAKS = Path(__file__).with_name("leaks.jsonl")
os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
logging.disable(logging.WARNING)
import numpy as np  # noqa: E402

from csift import firewall  # noqa: E402
from csift.dedup import deduplicate  # noqa: E402
from csift.firewall import LabelledPair, Scorer, bundled_scorer, decide, fit, half, save_scorer, source_questions  # noqa: E402
from csift.interfaces import Embedder  # noqa: E402
from csift.retrieval import MiniLM  # noqa: E402
from csift.static_model import DIM, StaticEmbedder, static_embedder  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="13,000 questions, random vectors; within a minute")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--leaks", type=Path, default=LEAKS)
    parser.add_argument("--data", type=Path, default=os.environ.get("CSIFT_BENCH_DATA"))
    parser.add_argument("--refit", type=Path, help="write the scorer fitted on all pairs here, and end")
    args = parser.parse_args()
    data = Path(args.data) if args.data else None
    leaks = data if data and data.suffix == ".jsonl" else args.leaks
    minilm = MiniLM(threads=2)
    pairs = [LabelledPair(**json.loads(line)) for line in leaks.read_text().splitlines()]
    if args.refit:
        kinds = ", ".join(f"{sum(pair.kind == kind for pair in pairs)} {kind}" for kind in sorted({pair.kind for pair in pairs}))
        save_scorer(
            fit(pairs, minilm), args.refit, f"csift.firewall.fit on {leaks.name} ({kinds}); python bench/dataset.py --refit"
        )
        print(f"wrote {args.refit}")
        return
    figures = _leaks(pairs, minilm, own=leaks.resolve() == LEAKS)
    if data and (data / "aws" / "qa.jsonl").is_file():
        figures |= _aws(data / "aws" / "qa.jsonl", minilm)
    figures |= _firewall_seconds(minilm, 500 if args.quick else 5000, args.seed)
    figures = _dedup(args.quick, args.seed) | figures
    if args.quick:
        print("--quick: random vectors and 13,000 questions, the dedup figures mean nothing")
    print(json.dumps(figures))


# --- leaks ------------------------------------------------------------------------------------------------------------------


def _leaks(pairs: list[LabelledPair], minilm: Embedder, own: bool) -> dict[str, float]:
    """Recall by kind and precision; on the bundled file by scorers that have not seen the source question."""
    sources = source_questions(pairs)
    parts = (
        [(fit([p for p in pairs if half(sources[p.a]) != h], minilm), h) for h in (0, 1)] if own else [(bundled_scorer(), None)]
    )
    found: list[tuple[LabelledPair, firewall.Verdict]] = []
    unrelated: list[bool] = []
    for scorer, held_out in parts:
        part = [pair for pair in pairs if held_out is None or half(sources[pair.a]) == held_out]
        found += zip(part, decide([(pair.a, pair.b) for pair in part], minilm, scorer), strict=True)
        unrelated += _unrelated(part, sources, minilm, scorer)
    for pair, verdict in found:
        if (verdict.kind is None) == (pair.kind != "number_changed"):
            print(f"wrong: {pair.kind} ({verdict.score:.2f}): {pair.a!r} | {pair.b!r}")

    def share(kind: str) -> float:
        rows = [verdict.kind is not None for pair, verdict in found if pair.kind == kind]
        return round(sum(rows) / len(rows), 4) if rows else float("nan")

    flagged = [pair.kind != "number_changed" for pair, verdict in found if verdict.kind is not None]
    print(f"leaks: {len(pairs)} pairs, {'cross-fitted by source question' if own else 'by the shipped scorer'}")
    return {
        "leak_recall_copy": share("copy"),
        "leak_recall_paraphrase": share("paraphrase"),
        "leak_recall_reordered": share("reordered"),
        "leak_precision": round(sum(flagged) / max(len(flagged), 1), 4),
        "leak_unrelated_share": round(sum(unrelated) / max(len(unrelated), 1), 5),
    }


def _unrelated(part: list[LabelledPair], sources: dict[str, str], minilm: Embedder, scorer: Scorer) -> list[bool]:
    """Whether each pair of a row's question with the other side of an unrelated row is called a leak."""
    crossed = [(one.a, other.b) for one in part for other in part if sources[one.a] != sources[other.a]]
    return [verdict.kind is not None for verdict in decide(crossed[:: max(1, len(crossed) // 20000)], minilm, scorer)]


def _aws(path: Path, minilm: Embedder) -> dict[str, float]:
    """The original system's questions against its own loose paraphrases, in all pairs and through the firewall."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    crossed = [(one["question"], other["synthetic_question"]) for one in rows for other in rows]
    said = np.array([verdict.kind is not None for verdict in decide(crossed, minilm, bundled_scorer())]).reshape(len(rows), -1)
    wall = firewall.Firewall([firewall.Protected(row["question"], row["answer"]) for row in rows], minilm)
    leaks = wall.check([row["synthetic_question"] for row in rows], [row["answer"] for row in rows])
    caught = [leak for leak in leaks if leak is not None]
    right = [leak is not None and leak.index == i for i, leak in enumerate(leaks)]
    return {
        "aws_pair_recall": round(float(said.diagonal().mean()), 4),
        "aws_pair_precision": round(float(said.diagonal().sum() / max(said.sum(), 1)), 4),
        "aws_leak_recall": round(len(caught) / len(rows), 4),
        "aws_leak_index_right": round(sum(right) / max(len(caught), 1), 4),
    }


def _firewall_seconds(minilm: Embedder, count: int, seed: int) -> dict[str, float]:
    """Examples against a fifth as many protected questions: all of it, and without the embedding."""
    questions = made_questions(count + count // 5, seed)[0]
    answers = [str(i % 20) for i in range(len(questions))]  # one in twenty agrees
    protected = [firewall.Protected(*pair) for pair in zip(questions[count:], answers[count:], strict=True)]
    embedding = _seconds(lambda: minilm.embed(questions))
    whole = _seconds(lambda: firewall.Firewall(protected, minilm).check(questions[:count], answers[:count]))
    print(f"firewall: {count} examples against {count // 5} in {whole:.1f} s, of which about {embedding:.1f} s embedding")
    return {"firewall_seconds": round(whole, 2), "firewall_embedding_seconds": round(embedding, 2)}


# --- deduplication ----------------------------------------------------------------------------------------------------------


def _dedup(quick: bool, seed: int) -> dict[str, float]:
    texts, copies = made_questions(13_000 if quick else 130_000, seed)
    with tempfile.TemporaryDirectory(prefix="csift-bench-", ignore_cleanup_errors=True) as folder:
        began = time.perf_counter()
        embedder = _random_static(Path(folder), seed) if quick else static_embedder(Path(folder))
        distilled = time.perf_counter() - began
        print(f"distilled in {distilled:.1f} s; {len(texts)} questions, {len(copies)} of them near-copies")
        embedder.embed(["warm up"])
        kept: list[int] = []
        processor = time.process_time()
        seconds = _seconds(lambda: kept.extend(deduplicate(texts, embedder)))
        processor = time.process_time() - processor
        found, stayed = _right(kept, copies, len(texts))
        print(f"csift: {seconds:.2f} s ({processor:.2f} s of processor time)")
        print(f"       {found:.4f} of the copies dropped, {stayed:.4f} of the others kept")
        peer_kept: list[int] = []
        peer = _seconds(lambda: peer_kept.extend(_semhash(texts, embedder)))
        peer_found, peer_stayed = _right(peer_kept, copies, len(texts))
        print(f"SemHash: {peer:.2f} s, {peer_found:.4f} of the copies dropped, {peer_stayed:.4f} of the others kept")
    return {
        "dedup_seconds_130k": round(seconds, 2),
        "dedup_processor_seconds": round(processor, 2),
        "dedup_found": round(found, 4),
        "dedup_kept": round(stayed, 4),
        "peer_seconds_130k": round(peer, 2),
        "peer_found": round(peer_found, 4),
        "peer_kept": round(peer_stayed, 4),
        "ratio": round(peer / seconds, 2),
        "distil_seconds": round(distilled, 1),
    }


def _semhash(texts: list[str], embedder: StaticEmbedder) -> list[int]:
    """SemHash as its README has it: HNSW by USearch, its default threshold of 0.9."""
    from semhash import SemHash

    first = {text: i for i, text in reversed(list(enumerate(texts)))}
    result = SemHash.from_records(texts, model=embedder.model).self_deduplicate()
    return [first[text] for text in result.selected]


def _right(kept: Sequence[int], copies: set[int], total: int) -> tuple[float, float]:
    dropped = set(range(total)) - set(kept)
    return len(dropped & copies) / len(copies), 1 - len(dropped - copies) / (total - len(copies))


def _random_static(folder: Path, seed: int) -> StaticEmbedder:
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    from csift.models import minilm_folder

    tokenizer = Tokenizer.from_file(str(minilm_folder() / "tokenizer.json"))
    vectors = np.random.default_rng(seed).normal(size=(tokenizer.get_vocab_size(), DIM)).astype(np.float32)
    StaticModel(vectors, tokenizer, normalize=True).save_pretrained(folder / "random")
    return StaticEmbedder(folder / "random")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


# --- made questions ---------------------------------------------------------------------------------------------------------

FRAMES = """how heavy is the {p}|how loud is the {p} at full speed|which spare filter fits the {p}|
how long does the {p} take to charge|can the {p} be used outdoors in the rain|what is the warranty period of the {p}|
what colour is the warning lamp of the {p}|how often does the {p} have to be serviced|
which oil goes into the gearbox of the {p}|how far must the {p} stand from a wall|what does error {n} mean on the {p}|
who may open the housing of the {p}|what is the smallest cable for the {p}|is the {p} suitable for salt water|
where is the serial number of the {p}|how many litres does the tank of the {p} hold|
may {p} terminate the agreement for convenience|what is the notice period in the lease with {p}|
who owns the patents developed with {p}|how are invoices of {p} to be paid|is the liability of {p} capped|
which law governs the supply contract with {p}|does {p} have to carry insurance|
when does the initial term of the {p} contract end|can {p} assign its rights to an affiliate|
what happens to prepaid fees if {p} becomes insolvent|must {p} keep records for {n} years|
which territory is granted to {p}|are the audit rights of {p} limited to one a year|
who pays the freight under the {p} order|what was the revenue of {p} in {y}|how much did {p} spend on research in {y}|
why did the gross margin of {p} fall in {y}|how many people worked for {p} at the end of {y}|
what dividend did {p} pay for {y}|which auditor signed the accounts of {p}|how are the leases of {p} accounted for|
what is the effective tax rate of {p} for {y}|did the cash flow of {p} improve in {y}|
how much goodwill did {p} write off in {y}|what interest does {p} pay on its notes due {y}|
which segment of {p} grew fastest in {y}|what is the usual dose of {p}|can {p} be taken during pregnancy|
which side effects does {p} have|how is {p} stored after opening|does {p} interact with alcohol|
how quickly does {p} lower the blood pressure|is {p} safe for children under {n}|
what was the primary endpoint of the {p} trial|how many patients dropped out of the {p} study|
was survival better in the {p} arm|which patients were excluded from the {p} trial|
how should an overdose of {p} be treated|when was {p} approved for adults"""
ROUND = """in the winter months|for a new customer|according to the manual|under the amended terms|in the northern region|
after the merger|at the old site|for elderly people|on a weekday|in the first shift|during the audit|
by the end of the quarter|for export orders|at high altitude|in a small workshop|under the second amendment|
for outpatients|in the pilot phase|before the inspection|with the extended package|in the base case|
for the coastal branch|when it was reported|in the revised schedule|near the harbour|for left-handed users|
in the annual report|with a temporary permit|in the supervised group|for the rural clinics"""
PARTS = ["ka", "ro", "mel", "dor", "vin", "ta", "sel", "bri", "os", "len", "mar", "qui", "fen", "har", "pel", "cor", "wex", "lin"]
PARTS += ["ast", "ul", "zen", "gal", "the", "mi", "dra", "ev", "no", "bel", "sto", "ryn"]
FILLERS = ["Please tell me, {}", "{}, please", "I would like to know: {}", "Could you say {}", "{} Thanks", "Quick question: {}"]
SYNONYMS = {
    "how often": "how frequently",
    "must": "has to",
    "can": "could",
    "what is": "what's",
    "during": "while in",
    "spare": "extra",
}


def made_questions(count: int, seed: int) -> tuple[list[str], set[int]]:
    """`count` questions in random order, and which of them are near-copies of an earlier one. Another tenth are earlier ones with
    the name changed, and no copies."""
    rng = random.Random(seed)
    frames, rounds = ([part.strip() for part in text.split("|")] for text in (FRAMES, ROUND))
    names = sorted({"".join(rng.choices(PARTS, k=rng.choice((2, 3, 3)))).capitalize() for _ in range(6000)})
    texts: list[str] = []
    slots: list[tuple[str, str, str, int, int]] = []
    seen: set[tuple[str, str, str, int, int]] = set()
    copies: set[int] = set()
    while len(texts) < count:
        draw = rng.random()
        if slots and draw < 0.1:
            copies.add(len(texts))
            texts.append(_near_copy(rng, rng.choice(slots)))
            continue
        slot = rng.choice(frames), rng.choice(names), rng.choice(rounds), rng.randint(2, 60), rng.randint(1995, 2024)
        if slots and draw < 0.2:
            old = rng.choice(slots)
            slot = old[0], rng.choice(names), old[2], old[3], old[4]
        shown = (*slot[:3], slot[3] * ("{n}" in slot[0]), slot[4] * ("{y}" in slot[0]))
        if shown in seen:
            continue
        seen.add(shown)
        slots.append(slot)
        texts.append(_question(slot))
    return texts, copies


def _question(slot: tuple[str, str, str, int, int]) -> str:
    frame, name, around, number, year = slot
    text = f"{frame.format(p=name, n=number, y=year)} {around}".strip()
    return f"{text[0].upper()}{text[1:]}?"


def _near_copy(rng: random.Random, slot: tuple[str, str, str, int, int]) -> str:
    text = _question(slot)
    way = rng.randrange(5)
    if way == 0:
        return rng.choice((text.upper(), text.lower(), text.rstrip("?"), f" {text} ".replace(" ", "  ")))
    if way == 1:
        return rng.choice(FILLERS).format(text[0].lower() + text[1:])
    if way == 2 and slot[2]:
        head = _question((slot[0], slot[1], "", slot[3], slot[4]))
        return f"{slot[2].capitalize()}, {head[0].lower()}{head[1:]}"
    if way == 3:
        return text.replace(" the ", " ", 1) if " the " in text else text.replace("?", " ?")
    old = next((word for word in SYNONYMS if word in text.lower()), None)
    return text.replace(old, SYNONYMS[old]) if old and old in text else f"{text[:-1]} exactly?"


if __name__ == "__main__":
    main()
