# The program, its libraries and nothing else: no shell, no package manager, no root.
#   docker build -t edi .
#   docker run --read-only -v edi:/var/lib/edi -p 127.0.0.1:8080:8080 -e EDI__ISSUER=http://127.0.0.1:8080 edi
#   docker exec CONTAINER edi client list
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --locked --release --bin edi
RUN config/container/rootfs target/release/edi /rootfs

FROM scratch
COPY --from=build /rootfs/ /
COPY --from=build --chown=65532:65532 /rootfs/var/lib/edi /var/lib/edi
# Where state lies, and what listens where. Whoever exposes the admin listener beyond the container's network means it.
ENV EDI__STORE__PATH=/var/lib/edi/data
ENV EDI__KEYS__MASTER_KEY_FILE=/var/lib/edi/keys/master.key
ENV EDI__KEYS__OPERATOR_FILE=/var/lib/edi/keys/operator.json
ENV EDI__LISTEN__PUBLIC=0.0.0.0:8080
ENV EDI__LISTEN__ADMIN=0.0.0.0:8081
ENV EDI__LISTEN__TLS=off-behind-proxy
# The command line inside the container reaches the issuer here, whatever its name outside.
ENV EDI_PUBLIC=http://127.0.0.1:8080
WORKDIR /var/lib/edi
USER 65532:65532
VOLUME /var/lib/edi
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["/usr/bin/edi", "health"]
ENTRYPOINT ["/usr/bin/edi"]
CMD ["serve"]
