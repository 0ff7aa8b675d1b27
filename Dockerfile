# docker build -t medssl . && docker run --gpus all --network none -v /data:/data -v /runs:/runs medssl pretrain ...
FROM python:3.12-slim

# PyTorch's Linux wheel of the package index holds its own CUDA libraries: the host needs the driver and nvidia-container-toolkit.
RUN pip install --no-cache-dir "torch>=2.8"
WORKDIR /opt/medssl
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY medssl medssl
COPY recipes recipes
COPY weights weights
RUN pip install --no-cache-dir . \
    && pip install --no-cache-dir --no-deps "dynamic-network-architectures>=0.4" \
    && useradd --create-home user
USER user
WORKDIR /home/user
ENV NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["medssl"]
CMD ["--help"]
