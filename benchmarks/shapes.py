"""The parameter trees that are measured: path -> shape."""

from __future__ import annotations

Shapes = dict[str, tuple[int, ...]]


def gpt2_small() -> Shapes:
    """GPT-2-small: 12 layers, width 768, vocabulary 50257; 148 leaves, 124 M parameters."""
    d = 768
    shapes: Shapes = {"wte": (50257, d), "wpe": (1024, d), "ln_f/scale": (d,), "ln_f/bias": (d,)}
    for i in range(12):
        for name, shape in {
            "ln_1/scale": (d,),
            "ln_1/bias": (d,),
            "attn/qkv/kernel": (d, 3 * d),
            "attn/qkv/bias": (3 * d,),
            "attn/proj/kernel": (d, d),
            "attn/proj/bias": (d,),
            "ln_2/scale": (d,),
            "ln_2/bias": (d,),
            "mlp/fc/kernel": (d, 4 * d),
            "mlp/fc/bias": (4 * d,),
            "mlp/proj/kernel": (4 * d, d),
            "mlp/proj/bias": (d,),
        }.items():
            shapes[f"h{i:02}/{name}"] = shape
    return shapes


def resnet50() -> Shapes:
    """ResNet-50 on ImageNet: 161 leaves, 25.6 M parameters."""
    shapes: Shapes = {}

    def conv(name: str, size: int, inside: int, outside: int) -> None:
        shapes[f"{name}/kernel"] = (size, size, inside, outside)
        shapes[f"{name}/norm/scale"] = shapes[f"{name}/norm/bias"] = (outside,)

    conv("stem", 7, 3, 64)
    width = 64
    for stage, (blocks, inner) in enumerate([(3, 64), (4, 128), (6, 256), (3, 512)]):
        for block in range(blocks):
            name = f"stage{stage}/block{block}"
            conv(f"{name}/reduce", 1, width, inner)
            conv(f"{name}/conv", 3, inner, inner)
            conv(f"{name}/expand", 1, inner, 4 * inner)
            if block == 0:
                conv(f"{name}/shortcut", 1, width, 4 * inner)
            width = 4 * inner
    shapes["head/kernel"], shapes["head/bias"] = (2048, 1000), (1000,)
    return shapes


def lora() -> Shapes:
    """500 pairs of low-rank factors, 1024 x 4 and 4 x 1024: 1000 leaves, 4.1 M parameters."""
    return {f"l{i:03}/{side}": shape for i in range(500) for side, shape in (("a", (1024, 4)), ("b", (4, 1024)))}


def embedding() -> Shapes:
    """One table of 1,000,000 rows of 64."""
    return {"table": (1_000_000, 64)}


ALL = {"gpt2-small": gpt2_small, "resnet50": resnet50, "lora-1000": lora, "embedding": embedding}
