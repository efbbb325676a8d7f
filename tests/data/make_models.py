"""Write the tiny model folders the tests load.

    pip install -r tests/data/requirements.txt
    python tests/data/make_models.py            # writes models/, forms/ and broken/ beside this file
    python tests/data/make_models.py --check    # writes, then runs every good graph in ONNX Runtime

The output is the same byte for byte on every run with the pinned versions. Expected values in
`golden.npz` come from numpy, never from ONNX Runtime.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import onnx
from PIL import Image
from tiny_graphs import (
    ae_decoder,
    ae_encoder,
    ae_whole,
    blur,
    byte_encoder,
    channels_last_encoder,
    chatty_encoder,
    detector,
    gray_encoder,
    half_encoder,
    infinite_encoder,
    linear_encoder,
    map_encoder,
    masked,
    masked_by_noise,
    mingling_encoder,
    nan_encoder,
    one_row_encoder,
    patch_encoder,
    random_encoder,
    slow,
    sometimes_nan,
    spots,
    steady,
    token_encoder,
    two_rows_encoder,
    vae_decoder,
    vae_encoder,
    weights,
)

HERE = Path(__file__).resolve().parent
RESCALE = 0.00392156862745098
IMAGENET_MEAN, IMAGENET_STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


# ---------------------------------------------------------------- manifests and images


PREPROCESS_PLAIN = f"""[preprocess]
resize = "exact"
filter = "bilinear"
rescale = {RESCALE}
"""

PREPROCESS_IMAGENET = f"""[preprocess]
resize = "shortest-edge"
edge = 10
filter = "bicubic"
crop = "center"
rescale = {RESCALE}
mean = {IMAGENET_MEAN}
std = {IMAGENET_STD}
"""


def head(family, description, extra="", channels="rgb", side=8, preprocess=PREPROCESS_PLAIN):
    return f"""manifest = 1
family = "{family}"
description = "{description}"
license = "Apache-2.0"
{extra}
[input]
width = {side}
height = {side}
channels = "{channels}"

{preprocess}"""


def graph(role, inputs, outputs, file=None):
    table = lambda names: ", ".join(f'{r} = "{n}"' for r, n in names.items())
    return f"""
[graphs.{role}]
file = "{file or role + '.onnx'}"
inputs = {{ {table(inputs)} }}
outputs = {{ {table(outputs)} }}
"""


def embedding(output="embedding", pooling="none"):
    return f"""
[embedding]
output = "{output}"
pooling = "{pooling}"
normalize = true
metric = "cosine"
"""


IMAGE = {"image": "image"}
EMBEDDING = {"embedding": "embedding"}
UNIT = '\n[reconstruction]\nvalues = "unit"\n'


def contrastive(description, **options):
    return head("contrastive", description, **options) + graph("encoder", IMAGE, EMBEDDING) + embedding()


def autoencoder(description):
    return (
        head("autoencoder", description)
        + graph("encoder", IMAGE, {"latent": "latent"})
        + graph("decoder", {"latent": "latent"}, IMAGE)
        + embedding("latent")
        + UNIT
    )


def drawn_image():
    """13 wide, 9 high: red rises to the right, green downwards, blue is a disc."""
    y, x = np.mgrid[0:9, 0:13]
    disc = (x - 7.0) ** 2 + (y - 4.0) ** 2 < 9.0
    return np.stack([x * 255 // 12, y * 255 // 8, np.where(disc, 220, 30)], axis=-1).astype(np.uint8)


def to_tensor(image):
    """HWC u8 -> [1, C, H, W] f32 in 0..1."""
    return (image.astype(np.float64) * RESCALE).transpose(2, 0, 1)[None].astype(np.float32)


def preprocess_plain(image):
    return to_tensor(np.asarray(Image.fromarray(image).resize((8, 8), Image.Resampling.BILINEAR)))


def preprocess_imagenet(image):
    high, wide = image.shape[:2]
    size = (10, 10 * high // wide) if wide < high else (10 * wide // high, 10)
    resized = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    top, left = (resized.shape[0] - 8) // 2, (resized.shape[1] - 8) // 2
    scaled = to_tensor(resized[top : top + 8, left : left + 8])
    mean, std = (np.float32(v).reshape(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (scaled - mean) / std


def second_row(image):
    """A batch of two: the image and its mirror image."""
    return np.concatenate([image, image[..., ::-1]])


def pool(image):
    return image.reshape(len(image), -1, 2, 4, 2, 4).mean(axis=(3, 5)).astype(np.float32)


def ae_golden():
    image = second_row(preprocess_plain(drawn_image()))
    latent = pool(image).reshape(len(image), 12)
    decoded = latent.reshape(-1, 3, 2, 2).repeat(4, axis=2).repeat(4, axis=3)
    return {
        "image": drawn_image(),
        "encoder.image": image,
        "encoder.latent": latent,
        "decoder.latent": latent,
        "decoder.image": decoded,
    }


def contrastive_golden():
    image = second_row(preprocess_imagenet(drawn_image()))
    return {
        "image": drawn_image(),
        "encoder.image": image,
        "encoder.embedding": image.reshape(len(image), -1) @ weights(21, 192, 16),
    }


def blur_golden():
    image = second_row(preprocess_plain(drawn_image()))
    padded = np.pad(image, ((0, 0), (0, 0), (1, 1), (1, 1)), mode="reflect")
    shifted = [padded[:, :, r : r + 8, c : c + 8] for r in range(3) for c in range(3)]
    return {
        "image": drawn_image(),
        "autoencoder.image": image,
        "autoencoder.image.out": np.mean(shifted, axis=0, dtype=np.float64).astype(np.float32),
    }


def mae_golden():
    image = second_row(preprocess_plain(drawn_image()))
    mask = np.float32([[1, 0, 0, 1], [0, 0, 1, 0]])
    hidden = mask.reshape(2, 1, 2, 2).repeat(4, axis=2).repeat(4, axis=3)
    colour = (image * (1 - hidden)).sum((2, 3), keepdims=True) / (1 - hidden).sum((2, 3), keepdims=True)
    patches = pool(image).reshape(2, 3, 4).transpose(0, 2, 1) @ weights(51, 3, 6)
    return {
        "image": drawn_image(),
        "encoder.image": image,
        "encoder.tokens": np.concatenate([patches.mean(1, keepdims=True), patches], axis=1),
        "masked.image": image,
        "masked.mask": mask,
        "masked.image.out": image * (1 - hidden) + colour * hidden,
    }


def detector_golden():
    image = second_row(preprocess_plain(drawn_image()))
    where = np.abs(image - np.float32(0.5)).mean(axis=1, keepdims=True)
    return {"image": drawn_image(), "anomaly.image": image, "anomaly.score": where.max((1, 2, 3)), "anomaly.map": where}


def vae_golden():
    image = second_row(preprocess_plain(drawn_image()))
    flat = pool(image).reshape(len(image), 12)
    mean = flat @ weights(41, 12, 4)
    return {
        "image": drawn_image(),
        "encoder.image": image,
        "encoder.mean": mean,
        "encoder.log_variance": np.tanh(flat @ weights(42, 12, 4)),
        "decoder.latent": mean,
        "decoder.image": (1 / (1 + np.exp(-(mean @ weights(43, 4, 192))))).reshape(-1, 3, 8, 8),
    }


# ---------------------------------------------------------------- folders


def write(folder, manifest, graphs, golden=None, external=False, memory=None):
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(manifest)
    for role, built in graphs.items():
        path = folder / f"{role}.onnx"
        if isinstance(built, bytes):
            path.write_bytes(built)
        elif external:
            onnx.save_model(
                built,
                path,
                save_as_external_data=True,
                all_tensors_to_one_file=True,
                location=path.name + ".data",
                size_threshold=0,
            )
        else:
            onnx.save_model(built, path)
    if golden:
        np.savez_compressed(folder / "golden.npz", **golden)
    if memory is not None:
        np.save(folder / "memory.npy", memory)


def write_models(root):
    write(
        root / "tiny-ae",
        autoencoder("2x2 grid of mean colours and back"),
        {"encoder": ae_encoder(), "decoder": ae_decoder()},
        ae_golden(),
    )
    write(
        root / "tiny-dae",
        head("autoencoder", "3x3 average blur", extra="denoises = true\n")
        + graph("autoencoder", IMAGE, {"image": "denoised"})
        + UNIT,
        {"autoencoder": blur()},
        blur_golden(),
    )
    write(
        root / "tiny-contrastive",
        contrastive("random projection", preprocess=PREPROCESS_IMAGENET),
        {"encoder": linear_encoder(21, 16)},
        contrastive_golden(),
    )
    write(
        root / "tiny-tokens",
        head("contrastive", "tokens, pooled by their mean")
        + graph("encoder", IMAGE, {"tokens": "tokens"})
        + embedding("tokens", "mean"),
        {"encoder": token_encoder(31)},
    )
    write(
        root / "tiny-gray",
        contrastive("2x2 grid of grey levels", channels="gray"),
        {"encoder": gray_encoder()},
    )
    write(
        root / "tiny-frozen",
        contrastive("random projection with the batch frozen at 1"),
        {"encoder": linear_encoder(22, 16, batch=1)},
    )
    write(
        root / "tiny-vae",
        head("variational", "four latents, random weights")
        + graph("encoder", IMAGE, {"mean": "mean", "log_variance": "log_variance"})
        + graph("decoder", {"latent": "latent"}, IMAGE)
        + embedding("mean")
        + UNIT,
        {"encoder": vae_encoder(), "decoder": vae_decoder()},
        vae_golden(),
    )
    write(
        root / "tiny-mae",
        head("masked-autoencoder", "hidden patches take the mean visible colour")
        + "\n[masked]\npatch = 4\n"
        + graph("encoder", IMAGE, {"tokens": "tokens"})
        + graph("masked", {"image": "image", "mask": "mask"}, {"image": "completed"})
        + embedding("tokens", "cls")
        + UNIT,
        {"encoder": token_encoder(51), "masked": masked()},
        mae_golden(),
    )
    write(
        root / "tiny-mae-noise",
        head("masked-autoencoder", "half of the patches is hidden, by the order of a noise")
        + "\n[masked]\npatch = 4\nratio = 0.5\n"
        + graph("encoder", IMAGE, {"tokens": "tokens"})
        + graph("masked", {"image": "image", "noise": "noise"}, {"image": "completed"})
        + embedding("tokens", "mean")
        + UNIT,
        {"encoder": token_encoder(51), "masked": masked_by_noise()},
    )
    write(
        root / "tiny-detector",
        head("anomaly", "how far colours are from grey, in the form of Anomalib's exports")
        + graph("anomaly", {"image": "input"}, {"score": "pred_score", "map": "anomaly_map"}),
        {"anomaly": detector()},
        detector_golden(),
    )
    write(
        root / "tiny-spots",
        head("anomaly", "how far a grey pixel is from those around it", channels="gray", side=128)
        + graph("anomaly", IMAGE, {"map": "map"}),
        {"anomaly": spots(128)},
    )
    write(
        root / "tiny-memory",
        head("anomaly", "mean colours of 2x2 squares, compared with five greys")
        + graph("encoder", IMAGE, {"latent": "features"})
        + embedding("latent")
        + '\n[memory]\nfile = "memory.npy"\n',
        {"encoder": patch_encoder()},
        memory=np.repeat(np.float32([[0], [0.25], [0.5], [0.75], [1]]), 3, axis=1),
    )
    write(
        root / "tiny-nan",
        head("anomaly", "gives NaN where a pixel is black") + graph("anomaly", IMAGE, {"map": "map"}),
        {"anomaly": sometimes_nan()},
    )
    write(root / "slow", contrastive("never ends by itself"), {"encoder": slow()})
    write(root / "steady", contrastive("takes tens of milliseconds a run"), {"encoder": steady()})
    write(
        root / "external",
        contrastive("weights in a file of their own"),
        {"encoder": linear_encoder(23, 16)},
        external=True,
    )


def form_golden(seed, image=lambda image: image):
    """Golden outputs of a linear encoder whose graph has the image in another form."""
    plain = second_row(preprocess_plain(drawn_image()))
    return {
        "image": drawn_image(),
        "encoder.image": image(plain),
        "encoder.embedding": plain.reshape(2, -1) @ weights(seed, 192, 4),
    }


def write_forms(root):
    """Graphs that no graph of the shipped models is like, and that are served all the same."""
    plain = contrastive("the image in another form")
    last = form_golden(81, lambda image: np.ascontiguousarray(image.transpose(0, 2, 3, 1)))
    write(root / "channels-last", plain, {"encoder": channels_last_encoder(81, 4)}, last)
    write(root / "float16", plain + "\n[golden]\natol = 0.01\n", {"encoder": half_encoder(82, 4)}, form_golden(82))
    bytes_in = form_golden(83, lambda image: np.round(image * 255))
    write(root / "uint8", plain.replace(f"rescale = {RESCALE}", "rescale = 1.0"), {"encoder": byte_encoder(83, 4)}, bytes_in)
    flipped = form_golden(84, lambda image: np.ascontiguousarray(image[:, ::-1]))
    flipped["encoder.embedding"] = flipped["encoder.image"].reshape(2, -1) @ weights(84, 192, 4)
    write(root / "bgr", plain.replace('channels = "rgb"', 'channels = "bgr"'), {"encoder": linear_encoder(84, 4)}, flipped)
    image = second_row(preprocess_plain(drawn_image()))
    write(
        root / "feature-map",
        head("contrastive", "a feature map, pooled by its mean")
        + graph("encoder", IMAGE, {"latent": "pooled"})
        + embedding("latent", "mean"),
        {"encoder": map_encoder()},
        {"image": drawn_image(), "encoder.image": image, "encoder.latent": pool(image).reshape(2, 3, 2, 2)},
    )
    golden = ae_golden()
    write(
        root / "whole",
        head("autoencoder", "one graph that gives an image and a latent")
        + graph("encoder", IMAGE, {"latent": "latent"}, "whole.onnx")
        + graph("autoencoder", IMAGE, {"image": "reconstruction"}, "whole.onnx")
        + embedding("latent")
        + UNIT,
        {"whole": ae_whole()},
        {
            "image": golden["image"],
            "encoder.image": golden["encoder.image"],
            "encoder.latent": golden["encoder.latent"],
            "autoencoder.image": golden["encoder.image"],
            "autoencoder.image.out": golden["decoder.image"],
        },
    )
    write(root / "chatty", plain, {"encoder": chatty_encoder(85, 4)}, form_golden(85))


def write_broken(root):
    good = linear_encoder(24, 4)
    plain = contrastive("broken on purpose")
    write(root / "unknown-key", plain.replace("[input]", "[input]\ncolour_space = \"srgb\""), {"encoder": good})
    write(
        root / "missing-role",
        plain.replace('embedding = "embedding"', 'embedding = "vector"'),
        {"encoder": good},
    )
    write(root / "no-graph", plain, {})
    golden = ae_golden()
    golden["encoder.latent"] = golden["encoder.latent"] + np.float32(0.05)
    write(
        root / "bad-golden",
        autoencoder("golden.npz disagrees with the graph"),
        {"encoder": ae_encoder(), "decoder": ae_decoder()},
        golden,
    )
    garbage = np.random.default_rng(71).integers(0, 256, 256, dtype=np.uint8).tobytes()
    write(root / "not-onnx", plain, {"encoder": garbage})
    write(root / "wrong-size", contrastive("manifest says 16x16", side=16), {"encoder": good})
    write(root / "random", plain, {"encoder": random_encoder(91, 4)})
    write(root / "not-finite", plain, {"encoder": nan_encoder(92, 4)})
    write(root / "infinite", plain, {"encoder": infinite_encoder(95, 4)})
    write(root / "one-row", plain, {"encoder": one_row_encoder(96, 4)})
    write(root / "mingling", plain, {"encoder": mingling_encoder(93, 4)})
    write(root / "two-rows", plain, {"encoder": two_rows_encoder(94, 4)})


# ---------------------------------------------------------------- check


def check(root):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    for folder in sorted(p for p in root.iterdir() if p.is_dir()):
        golden = dict(np.load(folder / "golden.npz")) if (folder / "golden.npz").exists() else {}
        for path in sorted(folder.glob("*.onnx")):
            started = time.perf_counter()
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
            loaded = time.perf_counter() - started
            line = f"{folder.name}/{path.name}: loads in {loaded * 1e3:.0f} ms"
            if folder.name == "slow":
                print(line + f", {check_slow(session)}")
                continue
            for batch in (1, 3):
                if folder.name == "tiny-frozen" and batch != 1:
                    continue
                feed = {
                    i.name: np.random.default_rng(1).random([batch, *i.shape[1:]], dtype=np.float32)
                    for i in session.get_inputs()
                }
                started = time.perf_counter()
                results = session.run(None, feed)
                line += f"; batch {batch} {(time.perf_counter() - started) * 1e3:.1f} ms"
                assert all(np.isfinite(r).all() and len(r) == batch for r in results), folder
            print(line + compare(session, path.stem, golden))


def check_slow(session):
    """The run must still be going after half a second, and end soon after it is told to."""
    import threading

    import onnxruntime

    run = onnxruntime.RunOptions()
    timer = threading.Timer(0.5, lambda: setattr(run, "terminate", True))
    started = time.perf_counter()
    timer.start()
    try:
        session.run(None, {"image": np.ones((1, 3, 8, 8), np.float32)}, run)
    except Exception as error:
        return f"terminated after {time.perf_counter() - started:.3f} s: {error}"
    raise AssertionError("slow ended by itself")


def compare(session, role, golden):
    names = [k for k in golden if k.startswith(role + ".")]
    if not names:
        return ""
    aliases = {
        "denoised": "image.out",
        "completed": "image.out",
        "input": "image",
        "pred_score": "score",
        "anomaly_map": "map",
    }
    feed = {i.name: golden[f"{role}.{aliases.get(i.name, i.name)}"] for i in session.get_inputs()}
    worst = 0.0
    for output, got in zip(session.get_outputs(), session.run(None, feed)):
        if output.name in ("pred_label", "pred_mask"):
            continue
        want = golden[f"{role}.{aliases.get(output.name, output.name)}"]
        np.testing.assert_allclose(got, want, rtol=1e-3, atol=1e-3)
        worst = max(worst, float(np.abs(got - want).max()))
    return f"; golden within {worst:.1e}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder that gets models/ and broken/")
    parser.add_argument("--check", action="store_true", help="run the good graphs in ONNX Runtime")
    arguments = parser.parse_args()
    for name, writer in (("models", write_models), ("forms", write_forms), ("broken", write_broken)):
        shutil.rmtree(arguments.out / name, ignore_errors=True)
        writer(arguments.out / name)
    if arguments.check:
        check(arguments.out / "models")


if __name__ == "__main__":
    sys.exit(main())
