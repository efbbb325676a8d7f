"""The tiny graphs of the fixtures, as ONNX models: weights are fixed by seeds."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET, IR_VERSION = 20, 9
F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def weights(seed, *shape):
    """Fixed random weights of variance 1 / rows."""
    return (np.random.default_rng(seed).standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)


def const(name, value, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(value, dtype=dtype), name)


def tensor(name, *shape):
    return helper.make_tensor_value_info(name, F32, shape)


def image_in(batch="batch", channels=3):
    return tensor("image", batch, channels, 8, 8)


def node(op, inputs, outputs, **attributes):
    return helper.make_node(op, inputs.split(), outputs.split(), **attributes)


def model(nodes, inputs, outputs, initializers):
    graph = helper.make_graph(nodes, "tiny", inputs, outputs, initializers)
    built = helper.make_model(
        graph,
        producer_name="latentd-tests",
        ir_version=IR_VERSION,
        opset_imports=[helper.make_opsetid("", OPSET)],
    )
    onnx.checker.check_model(built, full_check=True)
    return built


def pool_nodes(result):
    """Average of each 4x4 square of `image`, as [batch, channels * 4]."""
    return [
        node("AveragePool", "image", "pooled", kernel_shape=[4, 4], strides=[4, 4]),
        node("Flatten", "pooled", result, axis=1),
    ]


def linear_encoder(seed, dim, batch="batch"):
    """embedding = flatten(image) @ W."""
    return model(
        [node("Flatten", "image", "flat", axis=1), node("MatMul", "flat w", "embedding")],
        [image_in(batch)],
        [tensor("embedding", batch, dim)],
        [const("w", weights(seed, 192, dim))],
    )


def channels_last_encoder(seed, dim):
    """embedding = flatten(image, channels first) @ W, of an image [batch, 8, 8, 3]."""
    return model(
        [
            node("Transpose", "image", "first", perm=[0, 3, 1, 2]),
            node("Flatten", "first", "flat", axis=1),
            node("MatMul", "flat w", "embedding"),
        ],
        [tensor("image", "batch", 8, 8, 3)],
        [tensor("embedding", "batch", dim)],
        [const("w", weights(seed, 192, dim))],
    )


def half_encoder(seed, dim):
    """embedding = flatten(image) @ W, all of it in float16."""
    f16 = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT16, shape)
    return model(
        [node("Flatten", "image", "flat", axis=1), node("MatMul", "flat w", "embedding")],
        [f16("image", "batch", 3, 8, 8)],
        [f16("embedding", "batch", dim)],
        [const("w", weights(seed, 192, dim), np.float16)],
    )


def byte_encoder(seed, dim):
    """embedding = flatten(image) / 255 @ W, of an image of uint8."""
    return model(
        [
            node("Cast", "image", "floats", to=F32),
            node("Div", "floats full", "unit"),
            node("Flatten", "unit", "flat", axis=1),
            node("MatMul", "flat w", "embedding"),
        ],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, 8, 8])],
        [tensor("embedding", "batch", dim)],
        [const("w", weights(seed, 192, dim)), const("full", 255.0)],
    )


def map_encoder():
    """features = the average of each 4x4 square, as a feature map [batch, 3, 2, 2]."""
    return model(pool_nodes("flat")[:1], [image_in()], [tensor("pooled", "batch", 3, 2, 2)], [])


def chatty_encoder(seed, dim):
    """A linear encoder that also gives what nobody asked for: whole numbers, a scalar, and noise."""
    return model(
        [
            node("Flatten", "image", "flat", axis=1),
            node("MatMul", "flat w", "embedding"),
            node("ArgMax", "embedding", "ids", axis=1),
            node("ReduceMean", "image", "loss", keepdims=0),
            node("RandomNormalLike", "embedding", "noise"),
        ],
        [image_in()],
        [
            tensor("embedding", "batch", dim),
            helper.make_tensor_value_info("ids", I64, ["batch", 1]),
            tensor("loss"),
            tensor("noise", "batch", dim),
        ],
        [const("w", weights(seed, 192, dim))],
    )


def spoilt_encoder(seed, dim, nodes, initializers=(), rows="batch"):
    """A linear encoder whose `vector` the nodes turn into `embedding`."""
    return model(
        [node("Flatten", "image", "flat", axis=1), node("MatMul", "flat w", "vector"), *nodes],
        [image_in()],
        [tensor("embedding", rows, dim)],
        [const("w", weights(seed, 192, dim)), *initializers],
    )


def random_encoder(seed, dim):
    noise = [node("RandomNormalLike", "vector", "noise"), node("Add", "vector noise", "embedding")]
    return spoilt_encoder(seed, dim, noise)


def nan_encoder(seed, dim):
    return spoilt_encoder(seed, dim, [node("Add", "vector nan", "embedding")], [const("nan", np.nan)])


def infinite_encoder(seed, dim):
    """A division by zero: every number is infinite."""
    return spoilt_encoder(seed, dim, [node("Div", "vector zero", "embedding")], [const("zero", 0)])


def one_row_encoder(seed, dim):
    """The first of the rows alone, however many images there are; the file leaves the count open."""
    nodes = [node("Compress", "vector chosen", "embedding", axis=0)]
    return spoilt_encoder(seed, dim, nodes, [const("chosen", [True], np.bool_)], rows="rows")


def mingling_encoder(seed, dim):
    """Each vector less the mean of the batch, as of a batch normalisation exported while training."""
    nodes = [node("ReduceMean", "vector axes", "mean", keepdims=1), node("Sub", "vector mean", "embedding")]
    return spoilt_encoder(seed, dim, nodes, [const("axes", [0], np.int64)])


def two_rows_encoder(seed, dim):
    """Each vector twice, so that rows and images do not match."""
    return spoilt_encoder(seed, dim, [node("Concat", "vector vector", "embedding", axis=0)], rows="rows")


def token_encoder(seed):
    """One token for each 4x4 patch, its mean colour @ W, after a class token that is their mean."""
    return model(
        [
            node("AveragePool", "image", "pooled", kernel_shape=[4, 4], strides=[4, 4]),
            node("Reshape", "pooled shape", "colours"),
            node("Transpose", "colours", "patches", perm=[0, 2, 1]),
            node("MatMul", "patches w", "patch_tokens"),
            node("ReduceMean", "patch_tokens axes", "class_token", keepdims=1),
            node("Concat", "class_token patch_tokens", "tokens", axis=1),
        ],
        [image_in()],
        [tensor("tokens", "batch", 5, 6)],
        [
            const("w", weights(seed, 3, 6)),
            const("shape", [0, 3, 4], np.int64),
            const("axes", [1], np.int64),
        ],
    )


# ---------------------------------------------------------------- the graphs


def ae_encoder():
    return model(pool_nodes("latent"), [image_in()], [tensor("latent", "batch", 12)], [])


def decoding(result):
    """The nodes from `latent` to an image, and what they read beside it."""
    nodes = [
        node("Reshape", "latent shape", "small"),
        node(
            "Resize",
            "small no_roi scales",
            result,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ]
    return nodes, [const("shape", [0, 3, 2, 2], np.int64), const("no_roi", []), const("scales", [1, 1, 4, 4])]


def ae_decoder():
    nodes, initializers = decoding("image")
    return model(nodes, [tensor("latent", "batch", 12)], [image_in()], initializers)


def ae_whole():
    """Encoder and decoder in one graph, which gives both the image and the latent."""
    nodes, initializers = decoding("reconstruction")
    outputs = [tensor("reconstruction", "batch", 3, 8, 8), tensor("latent", "batch", 12)]
    return model(pool_nodes("latent") + nodes, [image_in()], outputs, initializers)


def blur():
    """3x3 average with mirrored borders; input and output share no name, as graphs require."""
    return model(
        [
            node("Pad", "image pads", "padded", mode="reflect"),
            node("Conv", "padded w", "denoised", group=3, kernel_shape=[3, 3]),
        ],
        [image_in()],
        [tensor("denoised", "batch", 3, 8, 8)],
        [
            const("pads", [0, 0, 1, 1, 0, 0, 1, 1], np.int64),
            const("w", np.full((3, 1, 3, 3), 1 / 9)),
        ],
    )


def detector():
    """A detector in the form of Anomalib's exports: its map is the mean over channels of |x - 0.5|."""
    boolean = lambda name, *shape: helper.make_tensor_value_info(name, BOOL, shape)
    return model(
        [
            node("Sub", "input half", "centred"),
            node("Abs", "centred", "far"),
            node("ReduceMean", "far channels", "anomaly_map", keepdims=1),
            node("ReduceMax", "anomaly_map all", "pred_score", keepdims=0),
            node("Greater", "pred_score quarter", "pred_label"),
            node("Greater", "anomaly_map quarter", "pred_mask"),
        ],
        [tensor("input", "batch", 3, 8, 8)],
        [
            tensor("pred_score", "batch"),
            boolean("pred_label", "batch"),
            tensor("anomaly_map", "batch", 1, 8, 8),
            boolean("pred_mask", "batch", 1, 8, 8),
        ],
        [
            const("half", 0.5),
            const("quarter", 0.25),
            const("channels", [1], np.int64),
            const("all", [1, 2, 3], np.int64),
        ],
    )


def spots(side):
    """A detector whose map is how far a grey pixel is from the mean of the 9x9 around it."""
    return model(
        [
            node("AveragePool", "image", "around", kernel_shape=[9, 9], pads=[4, 4, 4, 4], count_include_pad=0),
            node("Sub", "image around", "difference"),
            node("Abs", "difference", "map"),
        ],
        [tensor("image", "batch", 1, side, side)],
        [tensor("map", "batch", 1, side, side)],
        [],
    )


def sometimes_nan():
    """A detector that gives NaN for images that are black somewhere: noise has hardly a black pixel in all channels."""
    return model(
        [
            node("ReduceMax", "image channels", "brightest", keepdims=1),
            node("Div", "brightest brightest", "map"),
        ],
        [image_in()],
        [tensor("map", "batch", 1, 8, 8)],
        [const("channels", [1], np.int64)],
    )


def patch_encoder():
    """The mean colour of each 2x2 square, as a feature map of 4x4 positions."""
    return model(
        [node("AveragePool", "image", "features", kernel_shape=[2, 2], strides=[2, 2])],
        [image_in()],
        [tensor("features", "batch", 3, 4, 4)],
        [],
    )


def gray_encoder():
    return model(
        pool_nodes("embedding"),
        [image_in(channels=1)],
        [tensor("embedding", "batch", 4)],
        [],
    )


def vae_encoder():
    return model(
        pool_nodes("flat")
        + [
            node("MatMul", "flat w_mean", "mean"),
            node("MatMul", "flat w_log_variance", "raw"),
            node("Tanh", "raw", "log_variance"),
        ],
        [image_in()],
        [tensor("mean", "batch", 4), tensor("log_variance", "batch", 4)],
        [const("w_mean", weights(41, 12, 4)), const("w_log_variance", weights(42, 12, 4))],
    )


def vae_decoder():
    return model(
        [
            node("MatMul", "latent w", "flat"),
            node("Sigmoid", "flat", "bounded"),
            node("Reshape", "bounded shape", "image"),
        ],
        [tensor("latent", "batch", 4)],
        [image_in()],
        [const("w", weights(43, 4, 192)), const("shape", [-1, 3, 8, 8], np.int64)],
    )


def fill_nodes():
    """Hidden 4x4 patches (row by row) take the mean colour of the visible pixels; all hidden: black."""
    return [
        node("Reshape", "mask shape", "grid"),
        node(
            "Resize",
            "grid no_roi scales",
            "hidden",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        node("Sub", "one hidden", "visible"),
        node("Mul", "image visible", "kept"),
        node("ReduceSum", "kept axes", "sum", keepdims=1),
        node("ReduceSum", "visible axes", "count", keepdims=1),
        node("Max", "count one", "at_least_one"),
        node("Div", "sum at_least_one", "colour"),
        node("Mul", "colour hidden", "filled"),
        node("Add", "kept filled", "completed"),
    ]


FILL_CONSTANTS = [
    const("shape", [0, 1, 2, 2], np.int64),
    const("no_roi", []),
    const("scales", [1, 1, 4, 4]),
    const("axes", [2, 3], np.int64),
    const("one", 1.0),
]


def masked():
    return model(
        fill_nodes(),
        [image_in(), tensor("mask", "batch", 4)],
        [tensor("completed", "batch", 3, 8, 8)],
        FILL_CONSTANTS,
    )


def masked_by_noise():
    """Keeps the two of four patches with the smallest noise, as an export of a model with a fixed ratio does."""
    return model(
        [
            node("TopK", "noise two", "values largest", axis=1, largest=1),
            node("Mul", "noise zero", "none"),
            node("Mul", "values zero", "flat"),
            node("Add", "flat one", "ones"),
            node("ScatterElements", "none largest ones", "mask", axis=1),
            *fill_nodes(),
        ],
        [image_in(), tensor("noise", "batch", 4)],
        [tensor("completed", "batch", 3, 8, 8)],
        [*FILL_CONSTANTS, const("two", [2], np.int64), const("zero", 0.0)],
    )


def looping_encoder(seed, dim, state, body, trips, initializers, before=()):
    """A linear encoder that also waits for a Loop started from the input.

    1e-30 times the loop's result is added to the embedding: too small to change it, and nothing an
    optimiser may remove, so each row stays a function of its own image.
    """
    loop_body = helper.make_graph(
        [node("Identity", "go_in", "go_out"), *body],
        "body",
        [
            helper.make_tensor_value_info("step", I64, []),
            helper.make_tensor_value_info("go_in", BOOL, []),
            tensor("state_in", *state),
        ],
        [helper.make_tensor_value_info("go_out", BOOL, []), tensor("state_out", *state)],
    )
    return model(
        [
            *before,
            node("Flatten", "image", "flat", axis=1),
            node("MatMul", "flat w", "vector"),
            node("ReduceMean", "image", "level", keepdims=0),
            node("Expand", "level state_shape", "start"),
            node("Loop", "trips go start", "end", body=loop_body),
            node("ReduceMean", "end", "average", keepdims=0),
            node("Tanh", "average", "bounded"),
            node("Mul", "bounded tiny", "trace"),
            node("Add", "vector trace", "embedding"),
        ],
        [image_in()],
        [tensor("embedding", "batch", dim)],
        [
            const("w", weights(seed, 192, dim)),
            const("trips", trips, np.int64),
            const("go", True, np.bool_),
            const("state_shape", list(state), np.int64),
            const("tiny", 1e-30),
            *initializers,
        ],
    )


def slow():
    """Two thousand million small additions: more than half an hour, ended only by the run's terminate flag."""
    body = [node("Add", "state_in small", "state_out")]
    return looping_encoder(61, 4, (4,), body, 2_000_000_000, [const("small", 1e-6)])


def steady():
    """About 25 ms on one 2020s core, whatever the batch: STEADY_TRIPS products of 96x96 matrices."""
    side = 96
    body = [
        node("MatMul", "state_in mix", "mixed"),
        node("Tanh", "mixed", "state_out"),
    ]
    # The mixing matrix is cos(i * j / 64) / 8, made in the graph so that the file stays small.
    mix = [
        node("Transpose", "ramp", "ramp_row", perm=[1, 0]),
        node("Mul", "ramp ramp_row", "phase"),
        node("Cos", "phase", "wave"),
        node("Mul", "wave eighth", "mix"),
    ]
    ramp = np.arange(side)[:, None] / 8
    initializers = [const("ramp", ramp), const("eighth", 0.125)]
    return looping_encoder(62, 4, (side, side), body, STEADY_TRIPS, initializers, mix)


STEADY_TRIPS = 1000
