# One image for every part: the API, workers, the reaper and Flower differ by their command only.
FROM python:3.11-slim AS build
WORKDIR /build
# Everything of the lock, verified by its hashes: uv and the build backend are in it.
COPY requirements.lock ./
RUN python -m venv /tools && /tools/bin/pip install --no-cache-dir --require-hashes --requirement requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY src src
# What runs: the package and what it needs, in the lock's versions and with its hashes, nothing for development.
RUN /tools/bin/hatchling build --target wheel \
    && python -m venv --without-pip /opt/taketurns \
    && wheel=$(ls "$PWD"/dist/*.whl) \
    && /tools/bin/uv pip install --no-cache --compile-bytecode --python /opt/taketurns/bin/python --constraint requirements.lock \
        "taketurns[all] @ file://$wheel"

FROM python:3.11-slim
RUN useradd --system --uid 10001 --home-dir /nonexistent --shell /usr/sbin/nologin taketurns
COPY --from=build /opt/taketurns /opt/taketurns
ENV PATH=/opt/taketurns/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /tmp
USER taketurns
CMD ["taketurns", "--help"]
