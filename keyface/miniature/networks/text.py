"""Word-level tokenizer and small CLIP text encoder of the miniature."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerFast

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unknown>"
SPECIAL = (PAD, START, END, UNKNOWN)


def build_tokenizer(words: Iterable[str], length: int = 64) -> PreTrainedTokenizerFast:
    """Build a tokenizer with one token a word.

    Args:
        words: The vocabulary; punctuation marks may be words.
        length: Tokens of a padded prompt, start and end included.

    Returns:
        A fast tokenizer that lower-cases, splits at blanks and punctuation, and pads to `length`.
    """
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *sorted(set(words))])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            # Hyphens and apostrophes stay inside a word ("five-o'clock").
            pre_tokenizers.Split(Regex(r"[,.;:!?]"), "isolated"),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, vocabulary[START]), (END, vocabulary[END])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=START,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=length,
        padding_side="right",
    )


def tokenize(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str]) -> Tensor:
    """Return the token ids of texts, (B, L) int64, padded and cut to the tokenizer's length."""
    ids: Tensor = tokenizer(list(texts), padding="max_length", truncation=True, return_tensors="pt").input_ids
    return ids


def build_text_encoder(
    tokenizer: PreTrainedTokenizerFast, width: int = 128, layers: int = 2, heads: int = 4
) -> CLIPTextModel:
    """Build an untrained `CLIPTextModel` for the tokenizer's vocabulary.

    Args:
        tokenizer: From `build_tokenizer`.
        width: Embedding width, the U-Net's `cross_attention_dim`.
        layers: Transformer layers.
        heads: Attention heads.
    """
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=width * 4,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=tokenizer.model_max_length,
            pad_token_id=tokenizer.pad_token_id,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
