"""A model for --quick runs and for tests: the real code paths in milliseconds, and answers that mean nothing."""

from pathlib import Path


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """A folder with a random two-layer Llama and SmolLM2's tokenizer; the same seed gives the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from csift.models import bundled_tokenizer

    tokenizer = bundled_tokenizer()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=8192,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    made = folder / "tiny"
    LlamaForCausalLM(config).save_pretrained(made)
    tokenizer.save_pretrained(made)
    return made
