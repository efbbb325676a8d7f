# The latentd server for CPUs: the binary, the ONNX Runtime it loads and the models of models/.
#
#   DOCKER_BUILDKIT=1 docker build -t latentd .
#
# Where crates and wheels come from a mirror, hand the builder your own client settings; they reach
# the build steps and stay out of the image:
#
#   --secret id=cargo,src=$HOME/.cargo/config.toml --secret id=pip,src=$HOME/.config/pip/pip.conf

ARG DEBIAN=debian:bookworm-slim
ARG RUST=rust:1.95-bookworm

FROM ${DEBIAN} AS onnxruntime
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-pip \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /fetch
COPY scripts scripts
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    scripts/fetch-onnxruntime.sh \
    && cp -R .ort/lib/. /onnxruntime


FROM ${RUST} AS build
WORKDIR /src
COPY . .
RUN --mount=type=secret,id=cargo,target=/usr/local/cargo/config.toml \
    --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked \
    && cp target/release/latentd /latentd


FROM ${DEBIAN}
RUN groupadd --gid 10001 latentd \
    && useradd --uid 10001 --gid latentd --no-create-home --home-dir /var/lib/latentd --shell /usr/sbin/nologin latentd \
    && install -d -o latentd -g latentd /var/lib/latentd
COPY --from=build /latentd /usr/local/bin/latentd
# The server looks in ../lib/latentd beside its own folder.
COPY --from=onnxruntime /onnxruntime /usr/local/lib/latentd
# Whom clients of https trust: the picture store in a bucket, `latentd ingest`.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE /usr/local/share/doc/latentd/LICENSE
COPY models /models
# A shared library that the slim image lacks is an error here, not at the first start.
RUN ! ldd /usr/local/bin/latentd /usr/local/lib/latentd/libonnxruntime.so | grep 'not found'

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
