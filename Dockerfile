# usd-bench in a container, as a user without rights. Three things to build:
#   docker build --target cpu -t usd-bench .
#   docker build --target cuda -t usd-bench:cuda .     # docker run --gpus all usd-bench:cuda run ... --device cuda
#   docker build --target check .                      # the smoke suite, run in the image
# On Linux the index's torch wheel brings CUDA, gigabytes of it. For a small CPU image give pip the address of torch's CPU
# wheels: --build-arg PIP_EXTRA_INDEX_URL=...
FROM python:3.11.9-slim-bookworm AS build

ARG PIP_EXTRA_INDEX_URL=
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY . .
RUN python -m venv /opt/usd-bench \
    && /opt/usd-bench/bin/pip install --quiet -c constraints.txt '.[baselines,sql,ranks,tracking]'

FROM python:3.11.9-slim-bookworm AS cpu

RUN useradd --create-home --uid 1000 bench
COPY --from=build /opt/usd-bench /opt/usd-bench
COPY configs /opt/usd-bench/configs
ENV PATH=/opt/usd-bench/bin:$PATH OMP_WAIT_POLICY=passive
USER 1000
WORKDIR /home/bench
VOLUME /home/bench/results
ENTRYPOINT ["usd-bench"]
CMD ["--help"]

FROM cpu AS check

RUN usd-bench run --config /opt/usd-bench/configs/suite/smoke.yaml --jobs 2 --threads 1 --out /tmp/smoke \
    && usd-bench validate /tmp/smoke

# The CUDA libraries come with torch's wheel; the driver comes from the host.
FROM cpu AS cuda

ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
