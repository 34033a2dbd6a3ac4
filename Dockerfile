# docker build -t scdtl .
# docker run --rm -u $(id -u):$(id -g) -v "$PWD":/data scdtl impute in.h5ad -o out.h5ad
FROM python:3.12-slim

COPY . /opt/scdtl
ENV PIP_NO_CACHE_DIR=1 PIP_CONSTRAINT=/opt/scdtl/constraints.txt
RUN pip install "/opt/scdtl[large]" --extra-index-url https://download.pytorch.org/whl/cpu

# Caches of Numba and matplotlib: the user of the container may be any.
ENV NUMBA_CACHE_DIR=/tmp MPLCONFIGDIR=/tmp
WORKDIR /data
ENTRYPOINT ["scdtl"]
