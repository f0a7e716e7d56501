# Accord's site for one project. Build: docker build -t accord .   (compose.yaml runs it with PostgreSQL and https)
# Where pip looks is set by build arguments: --build-arg PIP_INDEX_URL=... and, for a build of torch without CUDA, a quarter of the size,
# --build-arg PIP_EXTRA_INDEX_URL=... with the index of torch's CPU builds.
# --build-arg BASE=... is another Debian with Python, such as a mirror's copy of this one.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE} AS build
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY docs docs
COPY runs runs
COPY src src
RUN python -m venv /opt/accord \
    && /opt/accord/bin/pip install --no-cache-dir -c constraints.txt '.[postgres]'

FROM ${BASE}
ENV PATH=/opt/accord/bin:$PATH \
    HOME=/project \
    PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 --home-dir /project --no-create-home accord \
    && install --directory --owner accord --group accord /project
COPY --from=build /opt/accord /opt/accord
COPY --chmod=755 runs/container.sh /usr/local/bin/accord-container
USER 10001
WORKDIR /project
VOLUME /project
EXPOSE 8400
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["accord-container", "health"]
ENTRYPOINT ["accord-container"]
