# Streamgauge in one image:   docker build -t streamgauge .
#
#   docker run -p 127.0.0.1:8000:8000 -v streamgauge:/data -e API_KEYS="ingest+read:<key>,admin:<key>" streamgauge
#
# It listens on all addresses of the container and therefore does not start without API_KEYS (or AUTH=off).
# At `docker stop` it sends its clients away and closes its store first: give it `--stop-timeout 30`.

FROM node:22-slim AS page
WORKDIR /src/web
COPY web/package.json web/package-lock.json web/.npmrc ./
RUN npm ci --include=dev --no-audit --no-fund
COPY web/ ./
RUN npm run build

FROM python:3.13-slim AS install
WORKDIR /src
COPY pyproject.toml setup.py README.md LICENSE ./
COPY engine/ engine/
COPY server/ server/
COPY --from=page /src/web/dist/ web/dist/
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels . \
 && python -m venv --without-pip /opt/streamgauge \
 && pip --python /opt/streamgauge/bin/python install --no-cache-dir /wheels/*.whl

FROM python:3.13-slim
LABEL org.opencontainers.image.title="Streamgauge" \
      org.opencontainers.image.description="Real-time streaming analytics: POST metrics and events, watch them live, query them, keep them" \
      org.opencontainers.image.licenses="MIT"

# The volume takes its owner from this folder. The number is for those who must know that it is not root.
RUN groupadd --gid 10001 streamgauge \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin streamgauge \
 && install -d -o 10001 -g 10001 -m 0750 /data
COPY --from=install /opt/streamgauge /opt/streamgauge

ENV PATH=/opt/streamgauge/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOST=0.0.0.0 \
    PORT=8000 \
    DATA_DIR=/data
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000

# Not through urllib.request, which would ask a proxy of the environment. /health needs no key.
HEALTHCHECK --interval=15s --timeout=5s --start-period=30s --retries=3 \
  CMD ["python", "-c", "import os, sys; from http.client import HTTPConnection; c = HTTPConnection('127.0.0.1', int(os.environ.get('STREAMGAUGE_PORT') or os.environ.get('PORT') or 8000), timeout=4); c.request('GET', '/health'); sys.exit(c.getresponse().status != 200)"]

# In exec form, so that the server itself gets the signal that stops the container.
ENTRYPOINT ["streamgauge"]
CMD ["serve"]
