"""The graphs of the encoders that are measured, with weights drawn from one seeded stream each."""

import math

import numpy as np
import onnx
from onnx import TensorProto, helper

from bench.models import Encoder


class Graph:
    """A graph under construction: nodes in order, weights from one seeded stream."""

    def __init__(self, seed: int):
        self.random = np.random.Generator(np.random.PCG64(seed))
        self.nodes, self.weights = [], []

    def constant(self, values: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(onnx.numpy_helper.from_array(values, name))
        return name

    def drawn(self, *shape: int, scale: float) -> str:
        return self.constant((self.random.standard_normal(shape, dtype=np.float32) * np.float32(scale)).astype(np.float32))

    def zeros(self, *shape: int) -> str:
        return self.constant(np.zeros(shape, np.float32))

    def shape(self, *sizes: int) -> str:
        return self.constant(np.array(sizes, np.int64))

    def add(self, operator: str, *inputs: str, **attributes) -> str:
        output = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [output], **attributes))
        return output

    def convolution(self, x: str, sizes: tuple[int, int, int], stride: int = 1, gain: float = 2.0) -> str:
        """`sizes` is channels in, channels out, kernel; the bias is what batch normalisation leaves when it is folded."""
        channels, out, kernel = sizes
        # filters that answer to nothing uniform, or images would come out ever more alike, layer after layer
        inputs = channels * kernel * kernel
        values = self.random.standard_normal((out, inputs), dtype=np.float32)
        # each number once added and once taken away: no sum, whose last bit would depend on the processor
        values = (values - np.roll(values, inputs // 3, axis=1)) * np.float32(math.sqrt(gain / 2 / inputs))
        weight = self.constant(values.reshape(out, channels, kernel, kernel))
        bias = self.drawn(out, scale=0.02)
        pad = kernel // 2
        return self.add(
            "Conv", x, weight, bias, kernel_shape=[kernel, kernel], strides=[stride, stride], pads=[pad, pad, pad, pad]
        )

    def linear(self, x: str, sizes: tuple[int, int], gain: float = 1.0) -> str:
        width, out = sizes
        product = self.add("MatMul", x, self.drawn(width, out, scale=math.sqrt(gain / width)))
        return self.add("Add", product, self.drawn(out, scale=0.02))

    def normalised(self, x: str, width: int) -> str:
        scale = self.constant(np.ones(width, np.float32))
        return self.add("LayerNormalization", x, scale, self.zeros(width), axis=-1, epsilon=1e-6)

    def model(self, encoder: Encoder, output: str) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [output], ["embedding"]))
        side = encoder.side
        graph = helper.make_graph(
            self.nodes,
            encoder.name,
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, side, side])],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", encoder.dimension])],
            self.weights,
        )
        model = helper.make_model(graph, producer_name="latentd bench", opset_imports=[helper.make_opsetid("", 20)])
        model.ir_version = 10
        return model


def small_convolutions(graph: Graph) -> str:
    """Four convolutions that halve the image, 0.39 million weights."""
    x = "image"
    for channels, out in [(3, 32), (32, 64), (64, 128)]:
        x = graph.add("Relu", graph.convolution(x, (channels, out, 3), stride=2))
    x = graph.convolution(x, (128, 256, 3), stride=2)
    return graph.add("Flatten", graph.add("GlobalAveragePool", x))


def resnet50(graph: Graph) -> str:
    """ResNet-50 without its classifier, batch normalisation folded into the convolutions."""
    x = graph.add("Relu", graph.convolution("image", (3, 64, 7), stride=2))
    x = graph.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = 64
    for stage, (width, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)]):
        for block in range(blocks):
            stride = 2 if stage > 0 and block == 0 else 1
            inner = graph.add("Relu", graph.convolution(x, (channels, width, 1)))
            inner = graph.add("Relu", graph.convolution(inner, (width, width, 3), stride=stride))
            inner = graph.convolution(inner, (width, 4 * width, 1), gain=0.5)
            if block == 0:
                x = graph.convolution(x, (channels, 4 * width, 1), stride=stride, gain=1.0)
                channels = 4 * width
            x = graph.add("Relu", graph.add("Add", x, inner))
    return graph.add("Flatten", graph.add("GlobalAveragePool", x))


def vit_b16(graph: Graph) -> str:
    """ViT-B/16: 12 layers, 12 heads, width 768, the class token after the last normalisation."""
    width, heads, tokens = 768, 12, 197
    patches = graph.add(
        "Conv",
        "image",
        graph.drawn(width, 3, 16, 16, scale=1 / math.sqrt(3 * 16 * 16)),
        graph.drawn(width, scale=0.02),
        kernel_shape=[16, 16],
        strides=[16, 16],
    )
    patches = graph.add("Transpose", graph.add("Reshape", patches, graph.shape(0, width, tokens - 1)), perm=[0, 2, 1])
    batch = graph.add("Slice", graph.add("Shape", patches), graph.shape(0), graph.shape(1))
    size = graph.add("Concat", batch, graph.shape(1, width), axis=0)
    token = graph.add("Expand", graph.drawn(1, 1, width, scale=0.1), size)
    x = graph.add("Add", graph.add("Concat", token, patches, axis=1), graph.drawn(1, tokens, width, scale=0.1))
    for _ in range(12):
        normal = graph.normalised(x, width)
        split = graph.shape(0, tokens, heads, width // heads)

        def heads_of(gain: float, perm: list[int], normal=normal, split=split) -> str:
            made = graph.add("Reshape", graph.linear(normal, (width, width), gain), split)
            return graph.add("Transpose", made, perm=perm)

        query, key, value = heads_of(1.0, [0, 2, 1, 3]), heads_of(1.0, [0, 2, 3, 1]), heads_of(4.0, [0, 2, 1, 3])
        scores = graph.add("Mul", graph.add("MatMul", query, key), graph.constant(np.array(1 / 8, np.float32)))
        seen = graph.add("MatMul", graph.add("Softmax", scores, axis=-1), value)
        seen = graph.add("Reshape", graph.add("Transpose", seen, perm=[0, 2, 1, 3]), graph.shape(0, tokens, width))
        x = graph.add("Add", x, graph.linear(seen, (width, width), 2.0))
        inner = graph.add("Gelu", graph.linear(graph.normalised(x, width), (width, 4 * width)))
        x = graph.add("Add", x, graph.linear(inner, (4 * width, width)))
    return graph.add("Gather", graph.normalised(x, width), graph.constant(np.array(0, np.int64)), axis=1)
