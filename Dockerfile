# docker build -t medssl .
# docker run --rm --gpus all --ipc=host --network none --user "$(id -u):$(id -g)" -v /data:/data -v /runs:/runs medssl pretrain ...
# --ipc=host: the processes that make views hand them over in shared memory, of which a container has 64 MB by itself.
# --user: what is written to /runs belongs to you.
FROM python:3.12-slim

# PyTorch's Linux wheel of the package index holds its own CUDA libraries: the host needs the driver and nvidia-container-toolkit.
WORKDIR /opt/medssl
COPY constraints.txt ./
RUN pip install --no-cache-dir -c constraints.txt torch
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY medssl medssl
COPY recipes recipes
COPY weights weights
RUN pip install --no-cache-dir -c constraints.txt . \
    && pip install --no-cache-dir -c constraints.txt --no-deps dynamic-network-architectures \
    && useradd --create-home user
USER user
WORKDIR /home/user
ENV HOME=/tmp LOGNAME=user NUMBA_CACHE_DIR=/tmp/numba MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["medssl"]
CMD ["--help"]
