# docker build -t scdtl . && docker run --rm -v "$PWD":/data scdtl impute in.h5ad -o out.h5ad
FROM python:3.12-slim

COPY . /opt/scdtl
RUN pip install --no-cache-dir torch --index-url https://download.pytorch.org/whl/cpu \
    && pip install --no-cache-dir "/opt/scdtl[large]"

# Caches of Numba and matplotlib: the user of the container may be any.
ENV NUMBA_CACHE_DIR=/tmp MPLCONFIGDIR=/tmp
WORKDIR /data
ENTRYPOINT ["scdtl"]
