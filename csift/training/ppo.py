"""Proximal policy optimisation of a LoRA policy (Schulman et al., 2017; for language models Stiennon et al., NeurIPS 2020).

One backbone does it all: the policy is the adapter that is trained, the reference a frozen copy of the adapter as the stage found
it, and the value of a state is one linear map of the policy's last hidden state. Rewards are the reward model's number at an
answer's last token, less `kl` times the divergence from the reference at every token; advantages are generalised advantage
estimates (Schulman et al., ICLR 2016).

Not covered: several processes; trl has no PPO any more.
"""

import json
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from csift.exceptions import TrainingError
from csift.interfaces import Progress
from csift.schemas import LossPoint
from csift.training.fitting import fit
from csift.training.lean import lean
from csift.training.rows import PromptRow
from csift.training.setup import Setup
from csift.training.watch import EXPLODED, impossible

GAMMA, LAMBDA = 1.0, 0.95  # answers are short: a reward at the end is worth as much at the start
CLIP = 0.2  # of the ratio of new to old probability, and of the value's change
VALUE_WEIGHT = 0.1
PASSES = 2  # over each batch of answers
MAX_GRAD = 1.0
OPTIMISER, VALUE, LOG = "optimiser.pt", "value.safetensors", "log.json"


@dataclass
class Rollout:
    """A batch of answers: int ids and masks [rows, prompt + answer]; floats [rows, answer], 0 behind an answer's end."""

    ids: Tensor
    seen: Tensor
    answer: Tensor
    old: Tensor
    values: Tensor
    advantages: Tensor
    returns: Tensor
    score: float
    kl: float


class ProximalPolicy:
    """A trainer with the part of trl's interface that csift uses: `train` from the newest whole checkpoint, then `model`."""

    def __init__(
        self,
        setup: Setup,
        rows: Sequence[PromptRow],
        on_loss: Callable[[LossPoint], None],
        progress: Progress,
    ) -> None:
        self.setup, self.model, self.config = setup, setup.model, setup.config
        self.rows, setup.truncated = fit(setup.tokenizer, rows, self.config.max_length, spare=self.config.answer_tokens)
        self.on_loss, self.progress = on_loss, progress
        self.model.add_adapter("ref", self.model.peft_config["default"])
        lean(self.model)
        for name, weight in self.model.named_parameters():
            if ".default." in name:
                self.model.get_parameter(name.replace(".default.", ".ref.")).data.copy_(weight.data)
        self.model.set_adapter("default")
        if setup.gpu:
            self.model.cuda()
        device = next(self.model.parameters()).device
        self.value = torch.nn.Linear(self.model.config.hidden_size, 1, device=device)
        torch.nn.init.zeros_(self.value.weight)
        torch.nn.init.zeros_(self.value.bias)
        self.trained = [weight for weight in self.model.parameters() if weight.requires_grad]
        groups = [{"params": self.trained}, {"params": self.value.parameters(), "lr": 10 * self.config.online_rate}]
        self.optimiser = torch.optim.AdamW(groups, lr=self.config.online_rate, weight_decay=0.0)
        self.losses: list[float] = []
        self.scores: list[float] = []
        self.tokens = 0

    def train(self) -> None:
        """All steps that the newest whole checkpoint does not hold yet."""
        self._resume()
        total = self.config.max_steps
        self.progress("train", len(self.losses), total, "ppo")
        while len(self.losses) < total:
            step = len(self.losses) + 1
            rate = 1.0 - (step - 1) / total
            for group, base in zip(self.optimiser.param_groups, (1, 10), strict=True):
                group["lr"] = base * self.config.online_rate * rate
            chosen = self._rows_of(step)
            rollout = self._roll_out(chosen)
            loss = self._learn(rollout)
            if not abs(loss) <= EXPLODED:
                raise TrainingError(impossible("loss", loss, step, [row.id for row in chosen]))
            self.losses.append(loss)
            self.scores.append(rollout.score)
            self.tokens += int(rollout.seen.sum())
            if step % self.config.checkpoint_every == 0:
                self._save(step)
            self.on_loss(LossPoint(step=step, loss=loss, learning_rate=self.config.online_rate * rate, tokens=self.tokens))
            self.progress("train", step, total, f"ppo reward {rollout.score:.2f}, divergence {rollout.kl:.2f} nats")

    def _rows_of(self, step: int) -> list[PromptRow]:
        """A step's prompts: the rows in an order drawn anew each time round, from the seed alone."""
        size, chosen = self.config.batch_size, []
        for place in range((step - 1) * size, step * size):
            turn, index = divmod(place, len(self.rows))
            order = list(range(len(self.rows)))
            random.Random(f"{self.config.seed} {turn}").shuffle(order)
            chosen.append(self.rows[order[index]])
        return chosen

    def _roll_out(self, rows: Sequence[PromptRow]) -> Rollout:
        tokenizer, device = self.setup.tokenizer, self.value.weight.device
        texts = [tokenizer.apply_chat_template(list(row.prompt), tokenize=False, add_generation_prompt=True) for row in rows]
        prompt = tokenizer(texts, add_special_tokens=False, return_tensors="pt", padding=True).to(device)
        self.model.eval()
        with torch.no_grad():
            ids = self.model.generate(
                **prompt,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=self.config.answer_tokens,
                pad_token_id=tokenizer.pad_token_id,
            )
            answer = _until_end(ids[:, prompt["input_ids"].shape[1] :], tokenizer.eos_token_id)
            seen = torch.cat([prompt["attention_mask"], answer.long()], dim=1)
            old, values = self._policy(ids, seen, answer)
            self.model.set_adapter("ref")
            reference, _ = self._policy(ids, seen, answer)
            self.model.set_adapter("default")
            for name, weight in self.model.named_parameters():
                weight.requires_grad_(".default." in name)
        told = [
            tokenizer.decode(row[mask], skip_special_tokens=True).strip()
            for row, mask in zip(ids[:, prompt["input_ids"].shape[1] :], answer, strict=True)
        ]
        scores = torch.tensor(self.setup.reward.score(rows, told), device=device)
        divergence = (old - reference) * answer
        rewards = -self.config.kl * divergence
        last = answer.long().sum(1) - 1
        rewards[torch.arange(len(rows), device=device), last] += scores
        advantages = generalised_advantages(rewards, values, answer)
        returns = advantages + values
        return Rollout(
            ids=ids,
            seen=seen,
            answer=answer,
            old=old,
            values=values,
            advantages=whiten(advantages, answer),
            returns=returns,
            score=float(scores.mean()),
            kl=float(divergence.sum(1).mean()),
        )

    def _policy(self, ids: Tensor, seen: Tensor, answer: Tensor) -> tuple[Tensor, Tensor]:
        """(log-probability of each answer token, value of the state before it), float [rows, answer]."""
        causal = self.model.get_base_model()
        hidden = causal.base_model(input_ids=ids, attention_mask=seen, use_cache=False).last_hidden_state
        states = hidden[:, -answer.shape[1] - 1 : -1]
        logits = causal.get_output_embeddings()(states).float()
        wanted = ids[:, -answer.shape[1] :]
        log_probs = torch.log_softmax(logits, dim=-1).gather(2, wanted[..., None])[..., 0]
        return log_probs * answer, self.value(states.float())[..., 0] * answer

    def _learn(self, rollout: Rollout) -> float:
        """PASSES passes in micro-batches; the mean loss of the first, before the policy has moved."""
        micro, rows = self.setup.micro_batch, len(rollout.ids)
        count = rollout.answer.sum()
        first = 0.0
        for number in range(PASSES):
            self.optimiser.zero_grad()
            for begin in range(0, rows, micro):
                part = slice(begin, begin + micro)
                log_probs, values = self._policy(rollout.ids[part], rollout.seen[part], rollout.answer[part])
                loss = _loss(log_probs, values, rollout, part).sum() / count
                loss.backward()
                first += loss.item() if number == 0 else 0.0
            torch.nn.utils.clip_grad_norm_([*self.trained, *self.value.parameters()], MAX_GRAD)
            self.optimiser.step()
        return first

    def _save(self, step: int) -> None:
        from safetensors.torch import save_file

        folder = self.setup.work / f"checkpoint-{step}"
        folder.mkdir(parents=True, exist_ok=True)
        self.model.save_pretrained(folder, selected_adapters=["default"])
        save_file(self.value.state_dict(), folder / VALUE)
        torch.save({"optimiser": self.optimiser.state_dict(), "random": torch.get_rng_state()}, folder / OPTIMISER)
        (folder / LOG).write_text(json.dumps({"losses": self.losses, "scores": self.scores, "tokens": self.tokens}))
        self.setup.checkpoints.save(folder, step)
        shutil.rmtree(folder)

    def _resume(self) -> None:
        from peft import set_peft_model_state_dict
        from safetensors.torch import load_file

        folder = self.setup.checkpoints.latest()
        torch.manual_seed(self.config.seed)
        if folder is None:
            return
        set_peft_model_state_dict(self.model, load_file(folder / "adapter_model.safetensors"), "default")
        self.value.load_state_dict(load_file(folder / VALUE))
        state = torch.load(folder / OPTIMISER, weights_only=True)
        self.optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        told = json.loads((folder / LOG).read_text())
        self.losses, self.scores, self.tokens = told["losses"], told["scores"], told["tokens"]


def generalised_advantages(rewards: Tensor, values: Tensor, answer: Tensor) -> Tensor:
    """Advantages of each token, float [rows, tokens], from rewards and values likewise; `answer` is False behind the end.

    Eq. 16 of Schulman et al., High-Dimensional Continuous Control Using Generalized Advantage Estimation, ICLR 2016.
    """
    following = torch.zeros_like(rewards[:, 0])
    value_after = torch.zeros_like(rewards[:, 0])
    advantages = torch.zeros_like(rewards)
    for step in range(rewards.shape[1] - 1, -1, -1):
        real = answer[:, step]
        surprise = rewards[:, step] + GAMMA * value_after - values[:, step]
        following = torch.where(real, surprise + GAMMA * LAMBDA * following, torch.zeros_like(following))
        value_after = torch.where(real, values[:, step], torch.zeros_like(value_after))
        advantages[:, step] = following
    return advantages


def whiten(numbers: Tensor, answer: Tensor) -> Tensor:
    """Mean 0 and standard deviation 1 over an answer batch's real tokens."""
    real = numbers[answer]
    return (numbers - real.mean()) / (real.std(correction=0) + 1e-8) * answer


def _loss(log_probs: Tensor, values: Tensor, rollout: Rollout, part: slice) -> Tensor:
    """Clipped surrogate and clipped value loss of each token (Eqs. 7 and 9 of Schulman et al., 2017)."""
    ratio = torch.exp(log_probs - rollout.old[part])
    gain = torch.minimum(ratio * rollout.advantages[part], ratio.clamp(1 - CLIP, 1 + CLIP) * rollout.advantages[part])
    near = rollout.values[part] + (values - rollout.values[part]).clamp(-CLIP, CLIP)
    wrong = torch.maximum((values - rollout.returns[part]) ** 2, (near - rollout.returns[part]) ** 2)
    return (VALUE_WEIGHT * 0.5 * wrong - gain) * rollout.answer[part]


def _until_end(tokens: Tensor, end: int) -> Tensor:
    """bool [rows, tokens]: True up to and with the first end token."""
    ended = (tokens == end).long().cumsum(1) - (tokens == end).long()
    return ended == 0
