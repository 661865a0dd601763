# keyface from a wheel (`pip wheel --no-deps --wheel-dir dist .`), with PyTorch for CPUs.
# A GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130, and `docker run --gpus all`.
FROM python:3.11-slim-bookworm

ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    GRADIO_ANALYTICS_ENABLED=False \
    HF_HUB_DISABLE_TELEMETRY=1

RUN useradd --create-home --uid 1000 keyface \
    && install --directory --owner=keyface --group=keyface /work

# PyTorch alone changes with the argument, and seldom with keyface: it is a layer of its own.
RUN pip install --index-url "$TORCH_INDEX" torch torchvision

COPY dist/keyface-*.whl /tmp/wheel/
RUN wheel="$(ls /tmp/wheel/keyface-*.whl)" \
    && pip install "${wheel}[studio]" \
    && rm -r /tmp/wheel

USER keyface
WORKDIR /work
VOLUME /work
EXPOSE 7860

ENTRYPOINT ["keyface"]
CMD ["studio", "--workspace", "/work", "--host", "0.0.0.0"]
