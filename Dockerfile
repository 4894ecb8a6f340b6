# One base and one lock for three images: `docker compose build` builds the targets airflow, mlflow and serving.
ARG PYTHON_IMAGE=python:3.12-slim-trixie

# uv installs the packages but is not part of an image: each install step mounts its binary from here.
FROM ${PYTHON_IMAGE} AS uv
COPY docker/requirements/uv.txt /tmp/uv.txt
RUN pip install --no-cache-dir --quiet --root-user-action=ignore --require-hashes -r /tmp/uv.txt

# The base of all three images. Bytecode is compiled at build time only, because the root is read-only at run time.
# Output is unbuffered for `docker logs`. Each exported file is complete, so `--no-deps` loses nothing; a resolution would
# ignore pyproject's overrides. The packages' own test suites (100 MB) are removed.
FROM ${PYTHON_IMAGE} AS base
# `make up` uses this label to find the images that a newer build has replaced.
LABEL org.opencontainers.image.title=mlops-loop
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1 GIT_PYTHON_REFRESH=quiet \
    UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 UV_CACHE_DIR=/var/cache/uv UV_PYTHON=/usr/local/bin/python3 UV_SYSTEM_PYTHON=1
WORKDIR /opt/mlops

# --- airflow: orchestrates and trains -------------------------------------------------------------------------------
FROM base AS airflow
# LightGBM links against Debian's OpenMP runtime. Plots write Korean labels in NanumGothic, 5 MB; the package's other
# families (28 MB) are removed in the same layer. Noto's CJK fonts would take 90 MB.
RUN --mount=type=tmpfs,target=/var/lib/apt/lists --mount=type=tmpfs,target=/var/cache/apt \
    apt-get update && apt-get install -y --no-install-recommends libgomp1 fonts-nanum \
    && find /usr/share/fonts/truetype/nanum -type f ! -name NanumGothic.ttf -delete
# The user comes before the packages because it rarely changes. Airflow requires a passwd entry with a home. The group
# is root, as in the official image. The log folder is created here so that its new volume belongs to the user.
ARG AIRFLOW_UID=50000
RUN useradd --uid ${AIRFLOW_UID} --gid 0 --home-dir /opt/airflow --create-home airflow \
    && install -d -m 775 -o airflow -g 0 /opt/airflow/logs /opt/airflow/dags /opt/airflow/plugins
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=docker/requirements/airflow.txt,target=/tmp/requirements.txt \
    --mount=type=cache,target=/var/cache/uv,sharing=locked \
    uv pip install --no-deps --require-hashes -r /tmp/requirements.txt \
    && find /usr/local/lib/python3.12/site-packages -type d -name tests -prune -exec rm -rf {} +
COPY pyproject.toml README.md LICENSE ./
# The pins are part of what `mlops worker` calls the release.
COPY docker/requirements/airflow.txt docker/requirements/
COPY ml_code/ ml_code/
COPY serving/ serving/
COPY mlops/ mlops/
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=cache,target=/var/cache/uv,sharing=locked \
    uv pip install --offline --no-deps -e .
COPY dags/ /opt/airflow/dags/
COPY plugins/ /opt/airflow/plugins/
COPY docker/airflow/ /opt/airflow/
# Tasks and replicas share the volume of predictions through the group, whichever image filled it first.
RUN install -d -m 2770 -o airflow -g 0 /var/lib/prediction-log /var/lib/prediction-log/segments \
    /var/lib/prediction-log/feedback /var/lib/prediction-log/batches \
    && install -d -m 775 -o airflow -g 0 /var/lib/loop-status
ENV AIRFLOW_HOME=/opt/airflow
USER airflow
WORKDIR /opt/airflow

# --- notebook: JupyterLab beside the libraries of a training; built by `make up PROFILE=notebook` only ------------------
FROM airflow AS notebook
USER root
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=docker/requirements/notebook.txt,target=/tmp/requirements.txt \
    --mount=type=cache,target=/var/cache/uv,sharing=locked \
    uv pip install --no-deps --require-hashes -r /tmp/requirements.txt
COPY notebooks/*.ipynb /opt/notebooks/
COPY docker/notebook/start.sh /opt/
RUN install -d -o airflow -g 0 /home/notebook
USER airflow
ENV HOME=/home/notebook
WORKDIR /home/notebook
CMD ["sh", "/opt/start.sh"]

# --- cluster: the workers and clients of fits that several workers share; built by `make up PROFILE=dask` only ----------
FROM airflow AS cluster
USER root
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=docker/requirements/cluster.txt,target=/tmp/requirements.txt \
    --mount=type=cache,target=/var/cache/uv,sharing=locked \
    uv pip install --no-deps --require-hashes -r /tmp/requirements.txt
USER airflow

# --- mlflow: tracks and registers -----------------------------------------------------------------------------------
FROM base AS mlflow
RUN useradd --uid 50000 --gid 0 --create-home mlflow
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=docker/requirements/mlflow.txt,target=/tmp/requirements.txt \
    --mount=type=cache,target=/var/cache/uv,sharing=locked \
    uv pip install --no-deps --require-hashes -r /tmp/requirements.txt \
    && find /usr/local/lib/python3.12/site-packages -type d -name tests -prune -exec rm -rf {} +
COPY docker/mlflow/ ./
USER mlflow
CMD ["sh", "start.sh"]

# --- serving: answers predictions; has no training library and no MLflow client --------------------------------------
FROM base AS serving
# The state folder is created here so that its new volume belongs to the user, not to root.
RUN useradd --uid 50000 --gid 0 --create-home serving && install -d -o serving -g 0 /var/lib/serving
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=bind,source=docker/requirements/serving.txt,target=/tmp/requirements.txt \
    --mount=type=cache,target=/var/cache/uv,sharing=locked \
    uv pip install --no-deps --require-hashes -r /tmp/requirements.txt
# The installation requires a package `mlops`. Only its `__init__.py` is copied: the command cannot run in this image.
COPY pyproject.toml README.md LICENSE ./
COPY ml_code/ ml_code/
COPY serving/ serving/
COPY mlops/__init__.py mlops/
RUN --mount=type=bind,from=uv,source=/usr/local/bin/uv,target=/usr/local/bin/uv \
    --mount=type=cache,target=/var/cache/uv,sharing=locked \
    uv pip install --offline --no-deps -e . && rm /usr/local/bin/mlops
RUN install -d -m 2770 -o serving -g 0 /var/lib/prediction-log /var/lib/prediction-log/segments \
    /var/lib/prediction-log/feedback /var/lib/prediction-log/batches
USER serving
ENV BENTOML_DO_NOT_TRACK=true BENTOML_HOME=/tmp/bentoml
CMD ["python", "-m", "serving"]
