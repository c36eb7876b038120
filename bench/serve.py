"""What `csift serve` adds to its engine, what it makes of the engine's batches, and whether a new champion loses a request.

    python bench/serve.py [--seconds N] [--seed N] [--quick]

`csift serve` runs as a process of its own, asks for keys, and is asked over HTTP.

  added    20 requests a second, steadily, at an engine in another process that speaks vLLM's protocol and takes 50 ms, and
           as many to the engine itself. `added_p99_ms` is what the 99th percentile has over the engine's own median, of
           a closed-book champion; `added_rag_p99_ms` of one that looks into an index, embedding the question first
  refused  200 questions at once at that server's queue of 128: `refused_share` of them got 429, `without_retry_after` of those
           did not say when to come again, `crashed` had any other end
  batch    32 clients that ask again as soon as they are answered, against the same prompts in batches of 32 in the engine alone,
           in turns
  swaps    the champion is replaced 20 times under steady load, by a closed-book System and one with retrieval in turn: requests
           that failed, the longest time until the new champion took requests, and until its first answer was there
"""

import argparse
import asyncio
import atexit
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ENGINE_SECONDS, RATE, CLIENTS, SWAPS = 0.05, 20, 32, 20
ROUNDS, WAVES = 3, 2  # of CLIENTS questions each, on either side in turns
CROWD = 200  # come at once
PROJECT = "catalogue"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="of steady load at each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a tiny random model, five seconds; its figures mean nothing")
    parser.add_argument("--engine", help=argparse.SUPPRESS)  # this process is the engine, with a model of that name
    args = parser.parse_args()
    if args.engine:
        return _engine(args.engine)
    folder = Path(tempfile.mkdtemp(prefix="csift-bench-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ["CSIFT_DATA_DIR"] = str(folder)
    figures = Bench(folder, 5 if args.quick else args.seconds, args.seed, args.quick).measure()
    if args.quick:
        print("--quick: a tiny random model, the figures mean nothing")
    print(json.dumps(figures))
    return None


class Bench:
    """One project with an index, and Systems that differ in what answers."""

    def __init__(self, folder: Path, seconds: float, seed: int, quick: bool) -> None:
        from bench.tiny import tiny_model
        from csift.config import load_config
        from csift.corpus import ingest
        from csift.db import database
        from csift.serving import keys
        from tasks.collaborators import base_model, index

        self.folder, self.seconds = folder, seconds
        self.ends: list[tuple[int, str | None]] = []
        shutil.copytree(ROOT / "examples", folder / "examples")
        self.toml = folder / "examples" / "catalogue.toml"
        self.toml.write_text(f"{self.toml.read_text()}\n[serving]\nper_minute = 1000000\n")
        self.config = load_config(self.toml)
        self.db = database()
        self.base = base_model(str(tiny_model(folder, seed)) if quick else "smollm2-135m-instruct")
        found = index(PROJECT, self.config.retrieval)
        assert found
        self.index = found
        self.snapshot = ingest(self.db, found, PROJECT, self.config.corpus).snapshot
        self.key = keys.create(self.db, PROJECT, "bench", "ask")[1]
        rows = (ROOT / "examples" / "questions-1.jsonl").read_text().splitlines()
        self.questions = [json.loads(row)["question"] for row in rows]

    def measure(self) -> dict[str, float]:
        """All parts."""
        closed, standard = self._added("closed-book"), self._added("standard")
        return {
            "added_p99_ms": closed[0],
            "added_p50_ms": closed[1],
            "added_rag_p99_ms": standard[0],
            "added_rag_p50_ms": standard[1],
            "engine_p99_ms": closed[2],
            **self._refused(),
            **self._batches(),
            **self._swaps(),
        }

    def _added(self, program: str) -> tuple[float, float, float]:
        """(99th percentile, median) of what is added to the median of the engine asked directly, and the 99th percentile of that,
        in ms."""
        self._champion(self._system(program))
        with _process([sys.executable, __file__, "--engine", self.base.name]) as engine:
            engine_url = _announced(engine, r"(http://\S+)")
            with self._served(CSIFT_VLLM_URL=engine_url) as url:
                chat = f"{url}/v1/chat/completions"
                _steady(chat, self._bodies(PROJECT), self.key, 2)  # warms up
                direct, through = _both(
                    (f"{engine_url}/v1/chat/completions", self._bodies(self.base.name)),
                    (chat, self._bodies(PROJECT)),
                    self.key,
                    self.seconds,
                )
                bodies = self._bodies(PROJECT)
                self.ends += _at_once(chat, [next(bodies) for _ in range(CROWD)], self.key)
        usual = median(direct)  # has the client's own time in it
        added, alone = ([1000 * (seconds - usual) for seconds in side] for side in (through, direct))
        told = _percentile(added, 99), _percentile(added, 50), _percentile(alone, 99)
        print(f"{program}: {len(added)} requests, added to {1000 * usual:.2f} ms: p50 {told[1]} ms, p99 {told[0]} ms")
        print(f"  the engine alone, over its own median: p99 {told[2]} ms")
        return told

    def _refused(self) -> dict[str, float]:
        """How those ended that came all at once."""
        refused = [after for status, after in self.ends if status == 429]
        crashed = sum(status not in (200, 429) for status, _ in self.ends)
        room = self.config.serving.queue
        print(f"{CROWD} at once at a queue of {room}: {len(refused) / len(self.ends):.0%} got 429, {crashed} another error")
        return {
            "refused_share": round(len(refused) / len(self.ends), 3),
            "without_retry_after": sum(after is None for after in refused),
            "crashed": crashed,
        }

    def _batches(self) -> dict[str, float]:
        from csift.inference import LocalEngine
        from csift.prompts import answer_prompt
        from csift.schemas import GenerationParams
        from csift.settings import settings

        round_of = WAVES * CLIENTS
        count = (ROUNDS + 1) * round_of  # the first round warms up
        asked = [self.questions[n % len(self.questions)] + " " * (n // len(self.questions)) for n in range(count)]
        prompts = [
            answer_prompt(question, [hit.text for hit in hits])
            for question, hits in zip(asked, self.index.search(asked, self.config.retrieval.k), strict=True)
        ]
        self._champion(self._system("standard"))
        engine, seconds = LocalEngine(self.base, settings().threads), [0.0, 0.0]
        with self._served() as url:
            for number in range(ROUNDS + 1):
                here = slice(number * round_of, (number + 1) * round_of)
                bodies = [{"model": PROJECT, "messages": [{"role": "user", "content": question}]} for question in asked[here]]
                through = _crowd(f"{url}/v1/chat/completions", bodies, self.key)
                began = time.perf_counter()
                for start in range(here.start, here.stop, CLIENTS):
                    engine.generate(prompts[start : start + CLIENTS], GenerationParams())
                if number:
                    seconds = [seconds[0] + through, seconds[1] + time.perf_counter() - began]
        served, alone = (ROUNDS * round_of / spent for spent in seconds)
        print(f"{CLIENTS} clients: {served:.2f} answers a second, the engine alone {alone:.2f}")
        return {"batch_share": round(served / alone, 3), "answers_per_s": round(served, 2)}

    def _swaps(self) -> dict[str, float]:
        import httpx

        systems = [self._system("standard"), self._system("closed-book")]
        self._champion(systems[0])
        slowest, slowest_answer = 0.0, 0.0
        end = threading.Event()
        seen: list[tuple[float, int, str]] = []

        def ask(url: str) -> None:
            with httpx.Client(headers={"Authorization": f"Bearer {self.key}"}, timeout=60) as client:
                for body in self._bodies(PROJECT):
                    if end.is_set():
                        return
                    told = client.post(f"{url}/v1/chat/completions", json=body)
                    seen.append((time.monotonic(), told.status_code, told.json().get("model", "")))

        with self._served() as url:
            threads = [threading.Thread(target=ask, args=(url,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for number in range(SWAPS):
                system = systems[(number + 1) % 2]
                self._champion(system)
                moved = time.monotonic()
                while httpx.get(f"{url}/health").json()["system"] != system.id:
                    time.sleep(0.01)
                slowest = max(slowest, time.monotonic() - moved)
                while not any(at > moved and model == system.id for at, _, model in seen[-8:]):
                    time.sleep(0.01)
                slowest_answer = max(slowest_answer, time.monotonic() - moved)
            end.set()
            for thread in threads:
                thread.join()
        failures = sum(status != 200 for _, status, _ in seen)
        answered = len(seen) - failures
        print(f"{SWAPS} swaps: {answered} answered, {failures} failed; requests go to the new champion within {slowest:.2f} s")
        return {
            "swap_failures": failures,
            "swap_seconds": round(slowest, 2),
            "swap_first_answer_seconds": round(slowest_answer, 2),
            "answered_over_swaps": answered,
        }

    def _system(self, program: str) -> Any:
        from csift.rag import closed_book_hash, standard_program_hash
        from csift.schemas import GenerationParams, System

        return System.of(
            base_model=self.base.name,
            base_revision=self.base.revision,
            adapter_id=None,
            program=program,
            program_hash=closed_book_hash() if program == "closed-book" else standard_program_hash(),
            snapshot_id=self.snapshot.id,
            embedder=self.index.id,
            k=self.config.retrieval.k,
            generation=GenerationParams(),
        )

    def _champion(self, system: Any) -> None:
        """Moves the pointer without a decision, which is not what is measured here."""
        import sqlalchemy as sa

        from csift import registry
        from csift.db.judging import ChampionRow

        registry.bootstrap_champion(self.db, PROJECT, registry.save_system(self.db, system))
        with self.db.session() as session:
            session.execute(sa.update(ChampionRow).where(ChampionRow.project == PROJECT).values(system_id=system.id))

    def _bodies(self, model: str) -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            yield {"model": model, "messages": [{"role": "user", "content": self.questions[number % len(self.questions)]}]}
            number += 1

    @contextmanager
    def _served(self, **environment: str) -> Iterator[str]:
        command = [sys.executable, "-m", "flows.cli", "serve", "--config", str(self.toml), "--host", "0.0.0.0"]
        with _process([*command, "--port", str(_free_port())], **environment) as process:
            yield _announced(process, r"answers at (http://\S+?),").replace("0.0.0.0", "127.0.0.1")


@contextmanager
def _process(command: list[str], **environment: str) -> Iterator[subprocess.Popen[str]]:
    told = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **environment}
    process = subprocess.Popen(command, env=told, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=60)


def _announced(process: subprocess.Popen[str], pattern: str) -> str:
    said = []
    for line in process.stderr or ():
        said.append(line)
        if found := re.search(pattern, line):
            return found[1]
    raise RuntimeError("".join(said))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _steady(url: str, bodies: Iterator[dict[str, Any]], key: str, seconds: float) -> list[float]:
    return asyncio.run(_at_rate([(url, bodies)], key, seconds))[0]


def _both(first: Any, second: Any, key: str, seconds: float) -> tuple[list[float], list[float]]:
    told = asyncio.run(_at_rate([first, second], key, seconds))
    return told[0], told[1]


async def _at_rate(targets: list[tuple[str, Iterator[dict[str, Any]]]], key: str, seconds: float) -> list[list[float]]:
    """Seconds that each request took, RATE a second at each target, begun on time whether the one before has ended or not."""
    import httpx

    took: list[list[float]] = [[] for _ in targets]
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60) as client:

        async def ask(place: int, url: str, body: dict[str, Any]) -> None:
            began = time.perf_counter()
            told = await client.post(url, json=body)
            took[place].append(time.perf_counter() - began)
            told.raise_for_status()

        waiting, begin = [], time.perf_counter()
        for number in range(int(seconds * RATE)):
            for place, (url, bodies) in enumerate(targets):
                due = begin + (number + place / len(targets)) / RATE
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                waiting.append(asyncio.create_task(ask(place, url, next(bodies))))
        await asyncio.gather(*waiting)
    return took


def _crowd(url: str, bodies: list[dict[str, Any]], key: str) -> float:
    """Seconds until CLIENTS clients, each asking again as soon as it is answered, have had all answered."""
    import httpx

    left = iter(bodies)
    lock = threading.Lock()

    def work() -> None:
        with httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=120) as client:
            while True:
                with lock:
                    body = next(left, None)
                if body is None:
                    return
                client.post(url, json=body).raise_for_status()

    threads = [threading.Thread(target=work) for _ in range(CLIENTS)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def _at_once(url: str, bodies: list[dict[str, Any]], key: str) -> list[tuple[int, str | None]]:
    """(status, Retry-After) of requests that are all sent before any is answered."""
    import httpx

    async def ask_all() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=len(bodies))
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {key}"}, timeout=60, limits=limits) as client:
            return await asyncio.gather(*(client.post(url, json=body) for body in bodies))

    return [(told.status_code, told.headers.get("Retry-After")) for told in asyncio.run(ask_all())]


def _percentile(values: list[float], percent: float) -> float:
    import numpy as np

    return round(float(np.percentile(values, percent)), 2)


def _engine(model: str) -> None:
    """An engine that speaks vLLM's protocol and takes 50 ms."""
    import uvicorn
    from fastapi import FastAPI, Request

    app = FastAPI()

    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        return {"data": [{"id": model}]}

    @app.post("/v1/chat/completions")
    async def chat(request: Request) -> dict[str, Any]:
        began = time.perf_counter()
        asked = await request.json()
        await asyncio.sleep(ENGINE_SECONDS - (time.perf_counter() - began))
        choice = {"index": 0, "message": {"role": "assistant", "content": "29 kg"}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 200, "completion_tokens": 4, "total_tokens": 204}
        return {"id": "x", "model": asked["model"], "choices": [choice], "usage": usage}

    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()
