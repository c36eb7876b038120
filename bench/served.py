"""A served teacher of fixed latency for bench/synthesis.py: how much of the allowed concurrency csift uses, and whether a process
that is killed among its calls pays for any answer twice. The teacher is a real HTTP server in a process of its own."""

import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.teacher_server import Answer, TeacherServer
from csift.hashing import content_id

ROOT = Path(__file__).resolve().parent.parent
LATENCY = 0.2  # seconds
CONCURRENCY = 8
ENTRY = re.compile(r"\[(\d+)\] Entry (\d+) of ledger (\d+) records (\d+) crowns")

# The killed process: it writes pairs about the ledgers, booked on the cycle that is named.
CHILD = """
import sys
from bench.served import write_pairs
write_pairs(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), "openai/killed")
"""


def answer(prompt: str, time: int) -> Answer:
    """Writes a pair for each passage, finds every entry again, rates 5 and knows nothing by heart."""

    def field(name: str) -> str:
        return prompt.rpartition(f"[[ ## {name} ## ]]\n")[2]

    if "`[[ ## pairs ## ]]`" in prompt:
        pairs = [
            {
                "question": f"How many crowns does entry {entry} of ledger {ledger} record?",
                "answer": f"{crowns} crowns",
                "style": "factoid",
                "passages": [int(number)],
            }
            for number, entry, ledger, crowns in ENTRY.findall(field("passages"))
        ]
        return _told("pairs", json.dumps(pairs))
    if "`[[ ## rating ## ]]`" in prompt:
        return _told("rating", "5")
    if "[[ ## excerpts ## ]]" in prompt:
        return _told("answer", re.findall(r"records (\d+ crowns)", field("excerpts"))[0])
    return _told("answer", "unknown")


def _told(name: str, text: str) -> Answer:
    return Answer(f"[[ ## {name} ## ]]\n{text}\n\n[[ ## completed ## ]]")


def _serve(told: "multiprocessing.connection.Connection") -> None:  # type: ignore[name-defined]
    with TeacherServer(answer, LATENCY) as server:
        told.send(server.aws_url)
        while told.recv() == "asked":
            told.send(Counter(content_id("prompt", request.body["messages"]) for request in server.received))


@contextmanager
def teacher() -> Iterator[tuple[str, Callable[[], Counter[str]]]]:
    """The teacher's address, and a function that tells how often each prompt was asked, by its hash in the ledger."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(there,), daemon=True)
    process.start()

    def asked() -> Counter[str]:
        here.send("asked")
        return here.recv()

    try:
        yield here.recv(), asked
    finally:
        here.send("end")
        process.join(5)


def write_pairs(url: str, cycle_id: str, documents: int, per_document: int, name: str = "openai/ledgers") -> int:
    """Pairs about invented ledgers, all steps of a served teacher; returns how many were accepted. Answers of a model of another
    name are not in the ledger."""
    from csift.config import SynthesisConfig
    from csift.db import database
    from csift.ledger import Ledger
    from csift.llm import remote_model
    from csift.retrieval import minilm
    from csift.schemas import Chunk
    from csift.settings import Settings
    from csift.synthesis import PairWriter, synthesise

    chunks = [
        Chunk(
            id=f"chunk-{document}-{entry}",
            document_id=f"ledger-{document}",
            ordinal=entry,
            text=f"Entry {entry} of ledger {document} records {1000 + 37 * entry + 101 * document} crowns.",
        )
        for document in range(documents)
        for entry in range(per_document)
    ]
    config = SynthesisConfig(
        candidates=documents * per_document,
        pairs_per_document=per_document,
        rounds=1,
        styles=("factoid",),
        paraphrases=0,
        demonstrations=0,
        max_topic_share=1.0,
    )
    where = Settings(openai_base_url=f"{url}/v1")
    model = remote_model(name, Ledger(database(), cycle_id), "teacher", settings=where, concurrency=CONCURRENCY, max_tokens=1000)
    writer = PairWriter(model, config.styles, config.min_rating, CONCURRENCY)
    return len(synthesise(writer, chunks, [], minilm(2), config, near_duplicate=1.01).examples)


def efficiency(documents: int, per_document: int) -> dict[str, float]:
    """Accepted pairs a second as a share of what the concurrency permits: slots / latency / calls an accepted pair takes."""
    from csift.retrieval import minilm

    minilm(2).embed(["warm"])
    with teacher() as (url, asked):
        write_pairs(url, _cycle("warm-up"), 2, 2)
        before = sum(asked().values())
        began = time.perf_counter()
        accepted = write_pairs(url, _cycle("measured"), documents, per_document)
        seconds = time.perf_counter() - began
        calls = sum(asked().values()) - before
    permitted = CONCURRENCY / LATENCY / (calls / accepted)
    print(f"served teacher: {accepted} pairs with {calls} calls in {seconds:.1f} s; {permitted:.2f} pairs a second permitted")
    return {"concurrency_efficiency": accepted / seconds / permitted, "served_pairs_per_s": accepted / seconds}


def repaid(documents: int, per_document: int) -> dict[str, int]:
    """A process is killed with -9 among its calls and started again: booked answers that were asked for again."""
    from csift.db import database
    from csift.ledger import unsettled

    cycle = _cycle("killed")
    with teacher() as (url, asked):
        arguments = [sys.executable, "-c", CHILD, url, cycle, str(documents), str(per_document)]
        environment = {**os.environ, "CSIFT_DATABASE_URL": database().url.render_as_string(hide_password=False)}
        child = subprocess.Popen(arguments, cwd=ROOT, env=environment)
        while len(_booked(cycle)) < documents * per_document:
            if child.poll() is not None:
                raise SystemExit("the process ended before it could be killed; raise its number of documents")
            time.sleep(0.01)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        before, booked, cut = asked(), _booked(cycle), len(unsettled(database(), cycle))
        subprocess.run(arguments, cwd=ROOT, env=environment, check=True)
        again = asked() - before
    twice = sum(again[prompt] for prompt in booked)
    print(f"killed with {len(booked)} answers booked and {cut} calls in flight; {twice} of the booked were asked for again")
    return {"repaid_calls_after_kill": twice, "calls_in_flight_at_kill": cut}


def _booked(cycle: str) -> set[str]:
    """Hashes of the prompts whose answers are in the ledger."""
    import sqlalchemy as sa

    from csift.db import database
    from csift.db.learning import CallRow

    with database().session() as session:
        rows = sa.select(CallRow.prompt_hash).where(CallRow.cycle_id == cycle, CallRow.response.is_not(None))
        return set(session.scalars(rows))


def _cycle(name: str) -> str:
    from csift import cycles
    from csift.db import database
    from csift.db.base import now

    return cycles.begin(database(), name, "manual", now())
