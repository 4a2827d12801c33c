"""The workloads of this folder as modules of PyTorch: the same work, parameters and inputs.

In: nothing. Out: `WORKLOADS`, by the name of the `.well` file that each is the twin of: a module,
made with drawn weights, and the shapes of its inputs. Tests compare the two; `stepwell bench
--against` and `benchmarks/run.py` measure them side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Plain(nn.Module):
    """A module without parameters."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


class Elementwise(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.rand(width) + 0.5)
        self.b = nn.Parameter(torch.rand(width) - 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x * self.a + self.b) * torch.sigmoid(x) + x


class MLP(nn.Module):
    def __init__(self, softmax: bool = True) -> None:
        super().__init__()
        self.softmax = softmax
        self.fc1 = nn.Linear(784, 512)
        self.fc2 = nn.Linear(512, 512)
        self.fc3 = nn.Linear(512, 10)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.fc3(self.fc2(self.fc1(x).relu()).relu())
        return y.softmax(-1) if self.softmax else y


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.conv2 = nn.Conv2d(6, 16, 5)
        self.fc1 = nn.Linear(400, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2)
        return self.fc3(self.fc2(self.fc1(x.flatten(1)).relu()).relu())


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, padding=1)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1)
        self.fc1 = nn.Linear(64 * 8 * 8, 128)
        self.fc2 = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.conv1(x).relu(), 2)
        x = F.max_pool2d(self.conv2(x).relu(), 2)
        return self.fc2(self.fc1(x.flatten(1)).relu())


class ConvBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x).relu()


class Separable(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x).relu()).relu()


class Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1)
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride) if stride != 1 else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x).relu())
        return (y + (x if self.shortcut is None else self.shortcut(x))).relu()


class ResNet18(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 64, 7, 2, 3)
        blocks, channels = [], 64
        for width, stride in [(64, 1), (128, 2), (256, 2), (512, 2)]:
            blocks += [Residual(channels, width, stride), Residual(width, width, 1)]
            channels = width
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(512, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.max_pool2d(self.stem(x).relu(), 3, 2, 1))
        return self.head(x.mean((2, 3)))


class InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expand = nn.Conv2d(inputs, hidden, 1) if expansion != 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = x if self.expand is None else F.relu6(self.expand(x))
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    STAGES = (  # expansion, channels, blocks, stride of the first
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        blocks, channels = [], 32
        for expansion, width, count, stride in self.STAGES:
            for turn in range(count):
                blocks.append(InvertedResidual(channels, width, 1 if turn else stride, expansion))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Conv2d(channels, 1280, 1)
        self.head = nn.Linear(1280, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(F.relu6(self.stem(x)))
        return self.head(F.relu6(self.last(x)).mean((2, 3)))


def _heads(x: Tensor) -> list[Tensor]:
    """[N, T, 3*D] → query, key and value, each [N, D/64, T, 64]."""
    n, t, _ = x.shape
    return [part.reshape(n, t, -1, 64).transpose(1, 2) for part in x.chunk(3, -1)]


def _joined(x: Tensor) -> Tensor:
    return x.transpose(1, 2).flatten(2)


class BertLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.qkv = nn.Linear(768, 3 * 768)
        self.out = nn.Linear(768, 768)
        self.norm1 = nn.LayerNorm(768)
        self.fc1 = nn.Linear(768, 4 * 768)
        self.fc2 = nn.Linear(4 * 768, 768)
        self.norm2 = nn.LayerNorm(768)

    def forward(self, x: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(*_heads(self.qkv(x)))
        x = self.norm1(x + self.out(_joined(mixed)))
        return self.norm2(x + self.fc2(F.gelu(self.fc1(x))))


class Gpt2Decode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(768)
        self.qkv = nn.Linear(768, 3 * 768)
        self.out = nn.Linear(768, 768)
        self.norm2 = nn.LayerNorm(768)
        self.fc1 = nn.Linear(768, 4 * 768)
        self.fc2 = nn.Linear(4 * 768, 768)

    def forward(self, x: Tensor, past_k: Tensor, past_v: Tensor) -> tuple[Tensor, ...]:
        q, k, v = _heads(self.qkv(self.norm1(x)))
        all_k, all_v = torch.cat([past_k, k], 2), torch.cat([past_v, v], 2)
        x = x + self.out(_joined(F.scaled_dot_product_attention(q, all_k, all_v)))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh")), k, v


class CausalBlock(nn.Module):
    """A decoder block with a classifier on every token."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(256)
        self.qkv = nn.Linear(256, 3 * 256)
        self.out = nn.Linear(256, 256)
        self.norm2 = nn.LayerNorm(256)
        self.fc1 = nn.Linear(256, 4 * 256)
        self.fc2 = nn.Linear(4 * 256, 256)
        self.head = nn.Linear(256, 256)

    def forward(self, x: Tensor) -> Tensor:
        parts = _heads(self.qkv(self.norm1(x)))
        x = x + self.out(_joined(F.scaled_dot_product_attention(*parts, is_causal=True)))
        x = x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))
        return self.head(x).flatten(0, -2)


class LSTM(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(256, 256)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y, (h, c) = self.lstm(x)
        return y, h, c


def _drawn(module: nn.Module) -> nn.Module:
    """The module with weights that keep the size of what passes, and norms that show."""
    for name, parameter in module.named_parameters():
        if parameter.dim() >= 2:
            nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
        elif "norm" in name or isinstance(module, nn.LayerNorm):
            nn.init.uniform_(parameter, 0.5, 1.5)
    return module


@dataclass(frozen=True)
class Workload:
    """The name of a source beside this file, its module, and the shapes of its inputs."""

    name: str
    make: Callable[[], nn.Module]
    shapes: Sequence[tuple[int, ...]]
    labels: tuple[int, int] | None = None  # of a training step: how many, of how many classes

    def module(self) -> nn.Module:
        """The module, its weights drawn: the same ones every time."""
        torch.manual_seed(0)
        return _drawn(self.make()).eval()


WORKLOADS = {workload.name: workload for workload in [
    Workload("gemm_512", lambda: Plain(torch.matmul), [(512, 512)] * 2),
    Workload("gemm_1024", lambda: Plain(torch.matmul), [(1024, 1024)] * 2),
    Workload("gemv_4096", lambda: Plain(torch.matmul), [(1, 4096), (4096, 4096)]),
    Workload("elementwise_4m", lambda: Elementwise(1024), [(4096, 1024)]),
    Workload("softmax_4096x1024", lambda: nn.Softmax(-1), [(4096, 1024)]),
    Workload("layernorm_4096x1024", lambda: nn.LayerNorm(1024), [(4096, 1024)]),
    Workload("mlp_b1", MLP, [(1, 784)]),
    Workload("mlp_b128", MLP, [(128, 784)]),
    Workload("lenet_b32", LeNet, [(32, 1, 28, 28)]),
    Workload("conv3x3_56", lambda: ConvBlock(64), [(1, 64, 56, 56)]),
    Workload("dwsep_56", lambda: Separable(128), [(1, 128, 56, 56)]),
    Workload("resnet18_224_b1", ResNet18, [(1, 3, 224, 224)]),
    Workload("mobilenetv2_224_b1", MobileNetV2, [(1, 3, 224, 224)]),
    Workload("attention_b1_s128", lambda: Plain(F.scaled_dot_product_attention),
             [(1, 12, 128, 64)] * 3),
    Workload("bert_layer_s128", BertLayer, [(1, 128, 768)]),
    Workload("gpt2_block_decode", Gpt2Decode, [(1, 1, 768), *[(1, 12, 512, 64)] * 2]),
    Workload("lstm_s64_h256", LSTM, [(64, 1, 256)]),
    Workload("mlp_train_b128", lambda: MLP(softmax=False), [(128, 784)], (128, 10)),
    Workload("convnet_train_b32", ConvNet, [(32, 3, 32, 32)], (32, 10)),
    Workload("transformer_block_train_s64", CausalBlock, [(8, 64, 256)], (512, 256)),
]}  # fmt: skip
