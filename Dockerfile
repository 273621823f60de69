# One image for the three programs: worker (the default), bridge, simulator.
FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1
WORKDIR /app

# Dependencies before code: a change of code does not install them again.
COPY requirements-image.lock ./
RUN pip install --disable-pip-version-check --require-hashes -r requirements-image.lock

COPY worker.py ./
COPY sealwax ./sealwax
COPY workflows ./workflows
COPY activities ./activities
COPY bridge ./bridge
COPY simulator ./simulator

RUN useradd --system --uid 10001 --home-dir /var/lib/sealwax --create-home sealwax
USER sealwax
VOLUME /var/lib/sealwax

# SIGTERM lets running provider calls finish; the worker needs no init process for it.
STOPSIGNAL SIGTERM
CMD ["python", "worker.py"]
