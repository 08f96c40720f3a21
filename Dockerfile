# Rampart's image: agent, collector and rules on nothing but the libraries they need; no shell, no package manager.
#
#   docker build -t rampart .
#   docker build -t rampart --build-arg BUILD_IMAGE=rust:1.95-bookworm@sha256:… .      pinned
#   docker buildx build --platform linux/amd64,linux/arm64 -t rampart .                each on a machine of its kind
#   docker buildx build --sbom=true --provenance=mode=max -t rampart --push .          with a list of parts and its origin
#
# The programs run as user 65532 unless told otherwise; the agent needs user 0 and the capabilities of the chart.
# `cargo xtask image test` puts the same files together without a registry and runs them.

ARG BUILD_IMAGE=rust:1.95-bookworm

FROM ${BUILD_IMAGE} AS build
WORKDIR /rampart
COPY . .
# The set-up finds a compiler for the kernel half and installs what is missing.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/root/.cache \
    cargo xtask image assemble /image

FROM scratch
COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /image/var/lib/rampart-collector /var/lib/rampart-collector
USER 65532:65532
WORKDIR /var/lib/rampart
LABEL org.opencontainers.image.title="rampart" \
      org.opencontainers.image.description="Runtime security and traffic agent for every node, with its collector" \
      org.opencontainers.image.licenses="Apache-2.0"
ENTRYPOINT ["/usr/bin/rampart"]
CMD ["run"]
