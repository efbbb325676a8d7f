# The latentd server: the binary, the ONNX Runtime it loads and the models of models/.
#
#   DOCKER_BUILDKIT=1 docker build -t latentd .                         for CPUs
#   DOCKER_BUILDKIT=1 docker build -t latentd:cuda --target cuda .      for NVIDIA GPUs
#
# BuildKit makes only what the target needs: the first fetches nothing of CUDA. The second holds CUDA
# and cuDNN (2.4 GB), which are NVIDIA's and under NVIDIA's licences; the driver comes from the host.
#
# Where crates and wheels come from a mirror, hand the builder your own client settings; they reach
# the build steps and stay out of the image:
#
#   --secret id=cargo,src=$HOME/.cargo/config.toml --secret id=pip,src=$HOME/.config/pip/pip.conf

ARG DEBIAN=debian:bookworm-slim
ARG RUST=rust:1.95-bookworm

FROM ${DEBIAN} AS fetch
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /fetch
COPY scripts scripts


FROM fetch AS onnxruntime
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    scripts/fetch-onnxruntime.sh \
    && cp -R .ort/lib/. /onnxruntime


FROM fetch AS onnxruntime-cuda
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    PIP_NO_CACHE_DIR=1 DEVICE=cuda scripts/fetch-onnxruntime.sh \
    && mv "$(readlink -f .ort/lib-cuda)" /onnxruntime


FROM ${RUST} AS build
# For libjpeg-turbo.
RUN apt-get update \
    && apt-get install -y --no-install-recommends cmake nasm \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN --mount=type=secret,id=cargo,target=/usr/local/cargo/config.toml \
    --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked \
    && cp target/release/latentd /latentd


# What both images share; their layers go from what seldom changes to what often does.
FROM ${DEBIAN} AS server
RUN groupadd --gid 10001 latentd \
    && useradd --uid 10001 --gid latentd --no-create-home --home-dir /var/lib/latentd --shell /usr/sbin/nologin latentd \
    && install -d -o latentd -g latentd /var/lib/latentd
# Whom clients of https trust: the image store in a bucket, a Qdrant cluster, `latentd ingest`.
COPY --from=fetch /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /usr/local/share/doc/latentd/LICENSE
ENV LATENTD_LISTEN=0.0.0.0:8080 \
    LATENTD_MODELS=/models \
    LATENTD_DATA=/var/lib/latentd
USER latentd
WORKDIR /var/lib/latentd
VOLUME /var/lib/latentd
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s --retries=3 CMD ["latentd", "healthcheck"]
ENTRYPOINT ["latentd"]
CMD ["serve"]


FROM server AS cuda
# The server looks in ../lib/latentd beside its own folder, and for CUDA and cuDNN in `cuda` there.
COPY --from=onnxruntime-cuda /onnxruntime /usr/local/lib/latentd
COPY models /models
COPY --from=build /latentd /usr/local/bin/latentd
# A shared library that the slim image lacks is an error here, not at the first start. The driver's
# library is the host's: NVIDIA's container toolkit puts it there when the container starts.
RUN ! LD_LIBRARY_PATH=/usr/local/lib/latentd/cuda ldd /usr/local/bin/latentd /usr/local/lib/latentd/libonnxruntime.so \
    /usr/local/lib/latentd/libonnxruntime_providers_cuda.so /usr/local/lib/latentd/cuda/*.so.* \
    | grep 'not found' | grep -v libcuda.so.1
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    LATENTD_RUNTIME__DEVICE=cuda


# The last target is the one that a build takes by itself.
FROM server AS cpu
COPY --from=onnxruntime /onnxruntime /usr/local/lib/latentd
COPY models /models
COPY --from=build /latentd /usr/local/bin/latentd
RUN ! ldd /usr/local/bin/latentd /usr/local/lib/latentd/libonnxruntime.so | grep 'not found'
